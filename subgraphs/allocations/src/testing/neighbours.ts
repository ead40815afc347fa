import {
  type CommandContext,
  type CommandHandler,
  createCommandPort,
  handleCommand,
} from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { startHttp } from '@berth/platform/http'
import { type Id, newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import type { TestKeys } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import { bindSlots, holdSlots, releaseSlots } from '@berth/schema/commands/inventory'
import { policyHandlers } from '@berth/schema/testing/policy'

type Slot = {
  readonly slotId: Id<'slt'>
  readonly nodeId: Id<'nod'>
  readonly index: number
  readonly gpuUuid: string
  generation: number
  state: 'FREE' | 'HELD' | 'BOUND' | 'QUARANTINED'
  allocationId: Id<'alc'> | null
}

/** The services that allocations asks, in memory behind their real command ports. */
export type Neighbours = AsyncDisposable & {
  /** As BERTH_PEERS has it. */
  readonly peers: Record<string, string[]>
  readonly slots: Slot[]
  /** By allocation. */
  readonly holds: Map<Id<'alc'>, { holdId: Id<'hld'>; state: 'PLACED' | 'VOIDED' }>
  readonly roles: Record<string, string[]>
  /** The values of policies, by key. */
  readonly policies: Record<string, number | Record<string, number>>
  /** By action, what decides beside the roles. */
  readonly conditions: Record<string, (facts: Record<string, unknown>) => boolean>
  /** Adds a node with free slots. */
  addNode(slots: number): Id<'nod'>
  slotsOf(allocationId: Id<'alc'>): Slot[]
  hasCredit: boolean
  /** Every command that came, the last one last. */
  readonly asked: { name: string; run?: number; context: CommandContext }[]
  /** Called around each command: what it throws is answered, `after` with the effect done. */
  interfere: ((name: string, when: 'before' | 'after') => void | Promise<void>) | null
}

export async function startNeighbours(keys: TestKeys): Promise<Neighbours> {
  const scope = new AsyncDisposableStack()
  const done = new Map<string, unknown>()

  const neighbours: Neighbours = {
    peers: {},
    slots: [],
    holds: new Map(),
    roles: {
      member: ['allocation:*', 'terminal:open', 'sshkey:manage'],
      viewer: ['allocation:read'],
    },
    policies: {},
    conditions: {},
    hasCredit: true,
    asked: [],
    interfere: null,
    addNode(count) {
      const nodeId = newId('nod')
      for (let index = 0; index < count; index++) {
        const slotId = newId('slt')
        const gpuUuid = `GPU-${slotId}`
        neighbours.slots.push({
          slotId,
          nodeId,
          index,
          gpuUuid,
          generation: 1,
          state: 'FREE',
          allocationId: null,
        })
      }
      return nodeId
    },
    slotsOf: (allocationId) => neighbours.slots.filter((it) => it.allocationId === allocationId),
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
  }

  /** The same command id again is answered as before. */
  async function once<T>(
    name: string,
    context: CommandContext,
    run: number,
    effect: () => T,
  ): Promise<T> {
    const { commandId } = context
    neighbours.asked.push({ name, run, context })
    await neighbours.interfere?.(name, 'before')
    if (!done.has(commandId)) done.set(commandId, effect())
    await neighbours.interfere?.(name, 'after')
    return done.get(commandId) as T
  }

  const inventory = [
    handleCommand(holdSlots, ({ allocationId, gpuCount, run }, context) =>
      once('slots.hold', context, run, () => {
        const free = neighbours.slots.filter((it) => it.state === 'FREE')
        const nodeId = free.find(
          (it) => free.filter((other) => other.nodeId === it.nodeId).length >= gpuCount,
        )?.nodeId
        if (!nodeId) throw new DomainError('NO_CAPACITY', 'no node has enough')
        const slots = free.filter((it) => it.nodeId === nodeId).slice(0, gpuCount)
        for (const slot of slots) {
          Object.assign(slot, { state: 'HELD', allocationId, generation: slot.generation + 1 })
        }
        return {
          nodeId,
          region: 'eu-1',
          slots: slots.map(({ slotId, index, gpuUuid, generation }) => ({
            slotId,
            index,
            gpuUuid,
            generation,
          })),
        }
      }),
    ),
    handleCommand(bindSlots, ({ allocationId, slots, run }, context) =>
      once('slots.bind', context, run, () => {
        const held = slots.map(({ slotId, generation }) => {
          const slot = neighbours.slots.find((it) => it.slotId === slotId)
          if (slot?.generation !== generation || slot.allocationId !== allocationId) {
            throw new DomainError('CONFLICT', 'a generation is stale')
          }
          return slot
        })
        for (const slot of held) {
          Object.assign(slot, { state: 'BOUND', generation: slot.generation + 1 })
        }
        return { slots: held.map(({ slotId, generation }) => ({ slotId, generation })) }
      }),
    ),
    handleCommand(releaseSlots, ({ allocationId, outcome, run }, context) =>
      once('slots.release', context, run, () => {
        const mine = neighbours.slotsOf(allocationId)
        for (const slot of mine) {
          Object.assign(slot, {
            state: outcome === 'CLEAN' ? 'FREE' : 'QUARANTINED',
            allocationId: null,
            generation: slot.generation + 1,
          })
        }
        return { released: mine.length }
      }),
    ),
  ]
  const billing = [
    handleCommand(placeHold, ({ allocationId, run }, context) =>
      once('holds.place', context, run, () => {
        if (!neighbours.hasCredit) throw new DomainError('INSUFFICIENT_CREDIT', 'no credit')
        if (neighbours.holds.get(allocationId)) throw new DomainError('CONFLICT', 'it has ended')
        const holdId = newId('hld')
        neighbours.holds.set(allocationId, { holdId, state: 'PLACED' })
        return { holdId }
      }),
    ),
    handleCommand(voidHold, ({ allocationId, run }, context) =>
      once('holds.void', context, run, () => {
        const hold = neighbours.holds.get(allocationId)
        // Kept also when there was none: a hold that is asked for after it must be refused.
        neighbours.holds.set(allocationId, {
          holdId: hold?.holdId ?? newId('hld'),
          state: 'VOIDED',
        })
        return { voided: hold?.state === 'PLACED' }
      }),
    ),
  ]
  await serve('inventory', inventory)
  await serve('billing', billing)
  await serve(
    'policy',
    policyHandlers(
      () => neighbours.roles,
      () => neighbours.policies,
      () => neighbours.conditions,
    ),
  )
  return neighbours

  async function serve(service: string, handlers: CommandHandler[]): Promise<void> {
    const metrics = createMetrics({ service })
    const { jwks } = loadKeys(keys.dir, service)
    const server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      log: createLog({ service, instance: service, level: 'silent' }),
      metrics,
      routes: createCommandPort({ service, handlers, jwks, metrics }),
      drainSeconds: 0,
    })
    scope.defer(() => server.close())
    neighbours.peers[service] = [server.url]
  }
}
