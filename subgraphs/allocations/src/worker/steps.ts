import { DomainError } from '@berth/platform/errors'
import { fault } from '@berth/platform/fault-points'
import type { Id } from '@berth/platform/ids'
import { after } from '../domain/advance.ts'
import { CLEAN_SECONDS } from '../domain/machine.ts'
import { refusalOf } from '../domain/refusal.ts'
import type { Driver, DriverCall } from '../driver/port.ts'
import type { Allocation } from '../model.ts'
import type { Change } from '../store/change.ts'
import { onBehalf, type SlotOutcome, type Upstream } from '../upstream.ts'

/** What one step found: a change to commit, that all is given back, or that it must be repeated. */
export type Outcome =
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'settled' }
  | { readonly kind: 'again' }

export type Steps = {
  /**
   * What the allocation's state asks for, done outside; every step may be repeated from its start.
   *
   * @param signal aborted when the lease is lost: nobody wants the outcome any more
   * @throws whatever kept it from being done: repeat it
   */
  perform(allocation: Allocation, now: Date, signal?: AbortSignal): Promise<Outcome>
  /** Takes back what a step of a stale lease may have put on a node. @returns whether it is clean */
  sweep(allocation: Allocation): Promise<boolean>
}

export function createSteps({
  upstream,
  driver,
  publicKeys,
}: {
  upstream: Upstream
  driver: Driver
  publicKeys: (id: Id<'alc'>) => Promise<readonly string[]>
}): Steps {
  return {
    async perform(allocation, now, signal) {
      switch (allocation.state) {
        case 'REQUESTED':
          return reserve(allocation)
        case 'RESERVED':
          return bind(allocation)
        case 'PROVISIONING':
          return create(allocation, signal)
        case 'STARTING':
          return verify(allocation, signal)
        case 'RELEASING':
          return (await giveBack(allocation, now, signal)) ? change({ trigger: 'confirm' }) : again
        case 'RELEASED':
        case 'FAILED':
          return (await giveBack(allocation, now, signal)) ? { kind: 'settled' } : again
        default:
          throw new Error(`${allocation.state} needs no worker`)
      }
    },
    async sweep(allocation) {
      const { id, nodeId } = allocation
      if (!nodeId) return true
      return driver.clean({ allocationId: id, nodeId }, { by: onBehalf(allocation) })
    },
  }

  /** The reservation saga: slots, then credit. What a refusal leaves behind, the clean-up gives back. */
  async function reserve(allocation: Allocation): Promise<Outcome> {
    try {
      const held = await upstream.holdSlots(allocation)
      const holdId = await upstream.placeHold(allocation)
      return change({ trigger: 'reserve', reservation: { ...held, holdId } })
    } catch (error) {
      const reason = refusalOf(error)
      if (!reason) throw error
      return change({ trigger: 'fail', reason })
    }
  }

  async function bind(allocation: Allocation): Promise<Outcome> {
    try {
      return change({ trigger: 'provision', bound: await upstream.bindSlots(allocation) })
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'CONFLICT') throw error
      // A slot has another generation by now: it was taken from the allocation.
      return change({ trigger: 'fail', reason: 'NODE_LOST' })
    }
  }

  async function create(allocation: Allocation, signal?: AbortSignal): Promise<Outcome> {
    const gpuIndexes = allocation.slots.map((slot) => slot.index)
    const placement = { ...(await placed(allocation)), gpuIndexes }
    const login = await driver.create(placement, callOf(allocation, signal))
    await fault('driver.create:acknowledged')
    return change({ trigger: 'start', login })
  }

  async function verify(allocation: Allocation, signal?: AbortSignal): Promise<Outcome> {
    const isReady = await driver.verify(await placed(allocation), callOf(allocation, signal))
    await fault('driver.verify:acknowledged')
    return isReady ? change({ trigger: 'run' }) : again
  }

  async function placed(allocation: Allocation) {
    return {
      allocationId: allocation.id,
      nodeId: nodeOf(allocation),
      publicKeys: await publicKeys(allocation.id),
    }
  }

  /** @returns false when the node has not confirmed yet, and is to be asked again */
  async function giveBack(
    allocation: Allocation,
    now: Date,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const outcome = await clean(allocation, now, signal)
    if (!outcome) return false
    await upstream.releaseSlots(allocation, outcome)
    // What ran is settled by billing, by the event of its end.
    if (!allocation.startedAt) await upstream.voidHold(allocation)
    return true
  }

  async function clean(
    allocation: Allocation,
    now: Date,
    signal?: AbortSignal,
  ): Promise<SlotOutcome | null> {
    const { id, isNodeTouched, endedAt, state } = allocation
    if (!isNodeTouched) return 'CLEAN'
    // RELEASED before the node confirmed means that its time is over.
    if (state === 'RELEASED' || !endedAt || now >= after(endedAt, CLEAN_SECONDS)) {
      return 'UNCONFIRMED'
    }
    const of = { allocationId: id, nodeId: nodeOf(allocation) }
    const isClean = await driver.clean(of, callOf(allocation, signal))
    await fault('driver.clean:acknowledged')
    return isClean ? 'CLEAN' : null
  }
}

const again: Outcome = { kind: 'again' }

function change(it: Change): Outcome {
  return { kind: 'change', change: it }
}

function callOf(allocation: Allocation, signal?: AbortSignal): DriverCall {
  return { by: onBehalf(allocation), ...(signal && { signal }) }
}

function nodeOf({ id, nodeId }: Allocation): Id<'nod'> {
  if (!nodeId) throw new Error(`${id} is on no node`)
  return nodeId
}
