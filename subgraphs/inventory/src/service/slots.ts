import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { fault } from '@berth/platform/fault-points'
import {
  bestNode,
  bindAt,
  type Carrier,
  findRelease,
  giveBack,
  insertRelease,
  lockAllocation,
  lockNodeForHold,
  lockSlotsOf,
  regionOf,
  type SlotDemand,
  type SlotRow,
  servesAnother,
  takeSlots,
} from '../store/slots.ts'

export type HeldSlots = { nodeId: string; region: string; slots: readonly SlotRow[] }
export type Fenced = { slotId: string; generation: number }

/** Who gets which GPU. Ids are uuids. */
export type Slots = {
  /**
   * Holds free slots of one node for a run of an allocation; asked again, the same ones.
   *
   * @throws {DomainError} NO_CAPACITY when no node has enough; CONFLICT when the run has given
   *   its slots back already, or holds others than are asked for now
   */
  hold(demand: SlotDemand): Promise<HeldSlots>
  /**
   * HELD → BOUND for all of these slots, or for none.
   *
   * @throws {DomainError} CONFLICT when one is not at its generation or not this run's
   */
  bind(carrier: Carrier, fenced: readonly Fenced[]): Promise<Fenced[]>
  /**
   * Gives back what a run carries, for good: a hold for it that comes later is refused.
   *
   * @returns how many slots; asked again, the same
   */
  release(carrier: Carrier, outcome: 'CLEAN' | 'UNCONFIRMED'): Promise<number>
}

export function createSlots({
  database,
  clock,
}: {
  database: Pick<Database, 'sqlTransaction'>
  clock: Clock
}): Slots {
  return {
    async hold(demand) {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const held = await database.sqlTransaction((sql) => hold(sql, demand, clock.now()))
        if (held === 'NONE') break
        if (held !== 'TAKEN') return held
      }
      throw new DomainError('NO_CAPACITY', 'No node has enough free GPUs of this model: try later')
    },
    bind: (carrier, fenced) =>
      database.sqlTransaction((sql) => bind(sql, carrier, fenced, clock.now())),
    release: (carrier, outcome) =>
      database.sqlTransaction((sql) => release(sql, carrier, outcome, clock.now())),
  }
}

/** Each attempt is lost to a hold or a change that succeeded, so that it need not be many. */
const MAX_ATTEMPTS = 50

/** @returns TAKEN when the chosen node was taken by another meanwhile: choose again */
async function hold(
  sql: Sql,
  demand: SlotDemand,
  now: Date,
): Promise<HeldSlots | 'NONE' | 'TAKEN'> {
  await lockAllocation(sql, demand.allocationId)
  if ((await findRelease(sql, demand)) !== null) {
    throw new DomainError(
      'CONFLICT',
      'This run of the allocation has given its slots back: create another',
    )
  }
  const held = await lockSlotsOf(sql, demand)
  if (held.length > 0) return sameSlots(sql, held, demand)

  const nodeId = await bestNode(sql, demand)
  if (nodeId === null) return 'NONE'
  const node = await lockNodeForHold(sql, nodeId)
  if (!node) return 'TAKEN'
  if (!node.isIsolated && (await servesAnother(sql, nodeId, demand.organizationId))) return 'TAKEN'
  const slots = await takeSlots(sql, nodeId, demand, now)
  await fault('inventory.slots.taken')
  if (slots.length === 0) return 'TAKEN'
  return { nodeId, region: node.regionCode, slots: slots.sort((a, b) => a.index - b.index) }
}

/** What is held already, as the answer to the same question. */
async function sameSlots(
  sql: Sql,
  held: readonly SlotRow[],
  demand: SlotDemand,
): Promise<HeldSlots> {
  const [first] = held
  if (!first) throw new RangeError('an allocation that holds nothing')
  const isSame = held.every(
    ({ organizationId, gpuModelCode }) =>
      organizationId === demand.organizationId && gpuModelCode === demand.gpuModel,
  )
  if (!isSame || held.length !== demand.gpuCount) {
    throw new DomainError('CONFLICT', 'This allocation holds other GPUs already: use a new one')
  }
  return { nodeId: first.nodeId, region: await regionOf(sql, first.nodeId), slots: held }
}

async function bind(
  sql: Sql,
  carrier: Carrier,
  fenced: readonly Fenced[],
  now: Date,
): Promise<Fenced[]> {
  await lockAllocation(sql, carrier.allocationId)
  const carried = new Map((await lockSlotsOf(sql, carrier)).map((slot) => [slot.id, slot]))
  const isRepeated = fenced.every(({ slotId, generation }) => {
    const slot = carried.get(slotId)
    return slot?.state === 'BOUND' && slot.generation === BigInt(generation) + 1n
  })
  if (!isRepeated) {
    const bound = await bindAt(sql, carrier, fenced, now)
    await fault('inventory.slots.bound')
    if (bound.length !== fenced.length) {
      throw new DomainError('CONFLICT', 'A slot is not held for this allocation any more')
    }
  }
  return fenced.map(({ slotId, generation }) => ({ slotId, generation: generation + 1 }))
}

async function release(
  sql: Sql,
  carrier: Carrier,
  outcome: 'CLEAN' | 'UNCONFIRMED',
  at: Date,
): Promise<number> {
  await lockAllocation(sql, carrier.allocationId)
  const earlier = await findRelease(sql, carrier)
  if (earlier !== null) return earlier
  const released = await giveBack(sql, carrier, outcome, at)
  await fault('inventory.slots.given-back')
  await insertRelease(sql, { ...carrier, outcome, released, at })
  return released
}
