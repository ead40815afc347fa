import type { Sql } from '@berth/platform/database'
import { deriveUuid, type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { AllocationReason } from '@berth/schema/events/allocations'
import { type NotificationKind, retentionOf } from '../domain/notification.ts'

/** What is told, and why it is: the event it comes from, of that moment. */
export type News = {
  readonly eventId: string
  readonly occurredAt: Date
  /** A uuid. */
  readonly organizationId: string | null
  readonly kind: NotificationKind
  readonly reason: AllocationReason | null
  /** A uuid. */
  readonly allocationId: string | null
}

export type Delivered = { readonly userId: Id<'usr'>; readonly sequence: bigint }

/**
 * Puts news into people's inboxes, at the next sequence of each. Ids derive from the event and the
 * person: what was delivered before is left alone, and not returned.
 */
export async function appendNotifications(
  sql: Sql,
  news: News,
  users: readonly Id<'usr'>[],
): Promise<Delivered[]> {
  const { eventId, occurredAt, organizationId, kind, reason, allocationId } = news
  const ids = users.map((user) => deriveUuid(occurredAt, `${eventId}/${user}`))
  const rows = await sql.query<{ user_id: string; sequence: bigint }>(
    `SELECT user_id, sequence
     FROM inbox_append($1::uuid[], $2::uuid[], $3::timestamptz, $4, $5::uuid, $6, $7, $8::uuid)`,
    [
      ids,
      users.map(idToUuid),
      occurredAt,
      retentionOf(kind),
      organizationId,
      kind,
      reason,
      allocationId,
    ],
  )
  return rows.map((row) => ({ userId: uuidToId('usr', row.user_id), sequence: row.sequence }))
}
