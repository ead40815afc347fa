import { type Actor, requireOrganization } from '@berth/platform/actor'
import { beyondRetention } from '@berth/platform/cursor'
import { follow } from '@berth/platform/follow'
import { type Id, idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import {
  latestPosition,
  oldestPosition,
  type PositionedEvent,
  readEventsAfter,
} from '@berth/platform/outbox'
import { outboxChannel } from '@berth/platform/pubsub'
import type { Sql } from '@berth/platform/sql'
import { allocationChanged } from '@berth/schema/events/allocations'
import type { AllocationUpdate } from '../model.ts'
import type { Ports } from './ports.ts'
import { notFound } from './release.ts'

const PAGE = 100

/** What a cursor is bound to: nobody else's changes can be followed with it. */
export function streamOf(organizationId: Id<'org'>): { stream: string; owner: string } {
  return { stream: 'allocations', owner: organizationId }
}

export type PositionedUpdate = AllocationUpdate & { readonly position: bigint }

/**
 * The organization's changes after a cursor, or from now on, each once and in order.
 *
 * @param startsAfter told where it starts, so that who lost it before its first event can go on there
 * @throws {DomainError} BAD_INPUT for a cursor of another stream or organization, NOT_FOUND for
 *   another organization's allocation, STREAM_RESET when what follows the cursor is not kept any more
 */
export async function followAllocations(
  { database: { sql }, allocations, cursors, hints }: Ports,
  actor: Actor,
  args: { allocationId?: string | null; after?: string | null },
  startsAfter: (cursor: string) => void = () => undefined,
): Promise<AsyncIterableIterator<PositionedUpdate>> {
  const organizationId = requireOrganization(actor)
  const scope = streamOf(organizationId)
  const allocationId = args.allocationId == null ? null : parseId('alc', args.allocationId)
  if (allocationId && !(await allocations.find(organizationId, allocationId))) {
    throw notFound(allocationId)
  }
  const after = args.after == null ? await latestPosition(sql) : cursors.decode(args.after, scope)
  const filter = {
    organizationId: idToUuid(organizationId),
    aggregate: 'allocation',
    ...(allocationId && { aggregateId: idToUuid(allocationId) }),
    limit: PAGE,
  }

  // A follower that has caught up misses nothing, however quiet its organization is for how long.
  let hasCaughtUp = false
  async function readAfter(position: bigint): Promise<PositionedUpdate[]> {
    const events = await readEventsAfter(sql, { ...filter, after: position })
    // Asked after reading: what was deleted in between would be a gap, and a gap is never silent.
    if (!hasCaughtUp) await assertKept(sql, position)
    hasCaughtUp = events.length < PAGE
    return events.map((event) => ({
      ...toUpdate(event),
      position: event.position,
      cursor: cursors.encode({ ...scope, position: event.position }),
    }))
  }

  // Refused when it is opened, not at its first event.
  await assertKept(sql, after)
  startsAfter(cursors.encode({ ...scope, position: after }))
  return follow({
    after,
    readAfter,
    hints: (onHint) => hints.subscribe(outboxChannel('allocations', filter.organizationId), onHint),
  })
}

async function assertKept(sql: Sql, position: bigint): Promise<void> {
  const [oldest, latest] = await Promise.all([oldestPosition(sql), latestPosition(sql)])
  if (position < oldest - 1n || position > latest) throw beyondRetention()
}

function toUpdate({ envelope }: PositionedEvent): Omit<AllocationUpdate, 'cursor'> {
  // All events of the aggregate carry the same data.
  const { state, reason } = allocationChanged.REQUESTED.data.parse(envelope.data)
  return {
    allocationId: uuidToId('alc', envelope.aggregateId),
    event: {
      id: uuidToId('evt', envelope.id),
      sequence: envelope.aggregateSeq,
      state,
      reason,
      at: new Date(envelope.occurredAt),
    },
  }
}
