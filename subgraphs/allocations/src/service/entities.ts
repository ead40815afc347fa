import type { Actor } from '@berth/platform/actor'
import { type Id, isId } from '@berth/platform/ids'
import { batched } from '../batch.ts'
import type { Allocation, AllocationEvent } from '../model.ts'
import type { Ports } from './ports.ts'

/**
 * What one operation loads by reference, one query for all references of a kind. Nothing is
 * remembered: a subscription's operation lives long, and each of its events shows what is then.
 */
export type Entities = {
  /** Null when it is no id, or not of the actor's organization. */
  allocation(id: string): Promise<Allocation | null>
  event(id: string): Promise<AllocationEvent | null>
  /** The allocation's first events, oldest first. */
  events(of: Allocation, first: number): Promise<readonly AllocationEvent[]>
}

export function createEntities(
  { allocations }: Pick<Ports, 'allocations'>,
  actor: Actor,
): Entities {
  const { organizationId } = actor
  const byId = batched(async (ids: readonly string[]) => {
    const wanted = ids.filter((id): id is Id<'alc'> => isId('alc', id))
    if (!organizationId || wanted.length === 0) return new Map<string, Allocation>()
    const found = await allocations.findMany(organizationId, wanted)
    return new Map<string, Allocation>(found.map((it) => [it.id, it]))
  })
  const eventById = batched(async (ids: readonly string[]) => {
    const wanted = ids.filter((id): id is Id<'evt'> => isId('evt', id))
    if (!organizationId || wanted.length === 0) return new Map<string, AllocationEvent>()
    const found = await allocations.findEvents(organizationId, wanted)
    return new Map<string, AllocationEvent>(found.map((it) => [it.id, it]))
  })
  const eventsByCount = new Map<number, (of: Id<'alc'>) => Promise<AllocationEvent[] | null>>()

  return {
    allocation: byId,
    event: eventById,
    async events({ id, organizationId: owner }, first) {
      const load =
        eventsByCount.get(first) ??
        batched((ids: readonly Id<'alc'>[]) => allocations.events(owner, ids, first))
      eventsByCount.set(first, load)
      return (await load(id)) ?? []
    },
  }
}
