import type { Actor } from '@berth/platform/actor'
import { requireOrganization } from '@berth/platform/actor'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import { parseId } from '@berth/platform/ids'
import { latestPosition } from '@berth/platform/outbox'
import type { AllocationState } from '@berth/schema/events/allocations'
import type { Allocation } from '../model.ts'
import { streamOf } from './follow.ts'
import type { Ports } from './ports.ts'

/** @returns null when the organization has none of that id */
export async function readAllocation(
  { allocations }: Ports,
  actor: Actor,
  id: string,
): Promise<Allocation | null> {
  return allocations.find(requireOrganization(actor), parseId('alc', id))
}

/** Newest first: ids ascend with time. With where the stream stood before. */
export async function pageAllocations(
  { allocations, cursors, database }: Ports,
  actor: Actor,
  args: {
    states?: readonly AllocationState[] | null
    first?: number | null
    after?: string | null
  },
): Promise<Connection<Allocation> & { streamCursor: string }> {
  const organizationId = requireOrganization(actor)
  const { first, take, after } = pageArguments(args)
  // Before the rows: what happens in between is in both rather than in neither.
  const position = await latestPosition(database.sql)
  const rows = await allocations.page(organizationId, {
    states: args.states ?? null,
    after: after === null ? null : parseId('alc', after),
    take,
  })
  return {
    ...connection({ rows, first, after, cursorOf: (it) => it.id }),
    streamCursor: cursors.encode({ ...streamOf(organizationId), position }),
  }
}
