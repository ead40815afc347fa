import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, timeOfId, uuidToId } from '@berth/platform/ids'
import type { AllocationReason } from '@berth/schema/events/allocations'
import { type InboxStatus, inboxStatuses, type NotificationKind } from '../domain/notification.ts'
import type { InboxCounts, Notification } from '../model.ts'

// What is hidden (`hide.ts`) is not there, for any of these.

/** Notifications of a person in these states, newest first, from before a sequence on. */
export async function notificationsBefore(
  sql: Sql,
  userId: Id<'usr'>,
  page: { statuses: readonly InboxStatus[]; before: bigint | null; limit: number },
): Promise<Notification[]> {
  const rows = await sql.query<Row>(
    `SELECT ${COLUMNS} FROM notifications
     WHERE user_id = $1::uuid AND NOT is_hidden AND status = ANY ($2::text[])
       AND sequence < coalesce($3::bigint, 9223372036854775807)
     ORDER BY sequence DESC LIMIT $4::int`,
    [idToUuid(userId), page.statuses, page.before, page.limit],
  )
  return rows.map(notificationOf)
}

/** Those of these notifications that are the person's, by id. */
export async function notificationsById(
  sql: Sql,
  userId: Id<'usr'>,
  ids: readonly Id<'ntf'>[],
): Promise<Map<Id<'ntf'>, Notification>> {
  const rows = await sql.query<Row>(
    `SELECT ${COLUMNS} FROM notifications
     WHERE user_id = $1::uuid AND NOT is_hidden
       AND (id, occurred_at) IN (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]))`,
    [idToUuid(userId), ids.map(idToUuid), ids.map(timeOfId)],
  )
  return new Map(rows.map(notificationOf).map((it) => [it.id, it]))
}

/** Where an inbox stands. */
export type InboxState = InboxCounts & {
  /** 0 before the first. */
  readonly lastSequence: bigint
  /** The highest sequence that is kept no more. */
  readonly purgedSequence: bigint
}

export async function inboxState(sql: Sql, userId: Id<'usr'>): Promise<InboxState> {
  const [row] = await sql.query<StateRow>(
    `SELECT ${STATE} FROM inboxes i WHERE user_id = $1::uuid`,
    [idToUuid(userId)],
  )
  return stateOf(row)
}

/** A place in an inbox, with what stands there; null when it is hidden. */
export type InboxEntry = {
  readonly sequence: bigint
  readonly notification: Notification | null
}

/** Where an inbox stands and what comes after a sequence, in order: both of one moment. */
export async function inboxAfter(
  sql: Sql,
  userId: Id<'usr'>,
  after: bigint,
  limit: number,
): Promise<{ state: InboxState; entries: InboxEntry[] }> {
  // Who has read everything asks most often: their months of notifications are not even planned for.
  const state = await inboxState(sql, userId)
  if (state.lastSequence <= after) return { state, entries: [] }
  const rows = await sql.query<StateRow & { [name in keyof EntryRow]: EntryRow[name] | null }>(
    `SELECT ${STATE}, n.* FROM inboxes i LEFT JOIN LATERAL (
       SELECT ${COLUMNS}, is_hidden FROM notifications
       WHERE user_id = i.user_id AND sequence > $2::bigint ORDER BY sequence LIMIT $3::int
     ) n ON true
     WHERE i.user_id = $1::uuid ORDER BY n.sequence`,
    [idToUuid(userId), after, limit],
  )
  const found = rows.filter((row) => row.id !== null) as (StateRow & EntryRow)[]
  const entries = found.map((row) => ({
    sequence: row.sequence,
    notification: row.is_hidden ? null : notificationOf(row),
  }))
  return { state: stateOf(rows[0]), entries }
}

/**
 * Moves notifications of a person forward, those that are not further already, and counts.
 *
 * @param sql of a transaction, in which the inbox then stays as it is
 * @returns false, with nothing changed, when one of them is not the person's
 */
export async function markNotifications(
  sql: Sql,
  userId: Id<'usr'>,
  ids: readonly Id<'ntf'>[],
  status: InboxStatus,
): Promise<boolean> {
  const user = idToUuid(userId)
  // Whatever changes the inbox waits here: what is read next stays as it is.
  await sql.query('SELECT 1 FROM inboxes WHERE user_id = $1::uuid FOR UPDATE', [user])
  const before = await notificationsById(sql, userId, ids)
  if (ids.some((id) => !before.has(id))) return false

  const rank = inboxStatuses.indexOf(status)
  const moving = [...before.values()].filter((it) => inboxStatuses.indexOf(it.status) < rank)
  if (moving.length > 0) {
    await sql.query(
      `UPDATE notifications SET status = $4
       WHERE user_id = $1::uuid
         AND (id, occurred_at) IN (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]))`,
      [
        user,
        moving.map(({ id }) => idToUuid(id)),
        moving.map(({ occurredAt }) => occurredAt),
        status,
      ],
    )
    await sql.query(
      `UPDATE inboxes SET unseen = unseen - $2::int, unread = unread - $3::int,
         version = version + 1, updated_at = now()
       WHERE user_id = $1::uuid`,
      [
        user,
        moving.filter((it) => isUnseen(it.status) && !isUnseen(status)).length,
        moving.filter((it) => isUnread(it.status) && !isUnread(status)).length,
      ],
    )
  }
  return true
}

const isUnseen = (status: InboxStatus) => status === 'UNSEEN'
const isUnread = (status: InboxStatus) => status === 'UNSEEN' || status === 'SEEN'

const COLUMNS = 'id, sequence, kind, reason, allocation_id, status, occurred_at, created_at'
const STATE = 'i.last_sequence, i.purged_sequence, i.unseen, i.unread, i.version'

type Row = {
  id: string
  sequence: bigint
  kind: NotificationKind
  reason: AllocationReason | null
  allocation_id: string | null
  status: InboxStatus
  occurred_at: Date
  created_at: Date
}

type EntryRow = Row & { is_hidden: boolean }

type StateRow = {
  last_sequence: bigint
  purged_sequence: bigint
  unseen: number
  unread: number
  version: bigint
}

function notificationOf(row: Row): Notification {
  return {
    id: uuidToId('ntf', row.id),
    sequence: row.sequence,
    kind: row.kind,
    reason: row.reason,
    allocationId: row.allocation_id === null ? null : uuidToId('alc', row.allocation_id),
    status: row.status,
    occurredAt: row.occurred_at,
    createdAt: row.created_at,
  }
}

/** A person to whom nothing came yet has no row. */
function stateOf(row: StateRow | undefined): InboxState {
  return {
    lastSequence: row?.last_sequence ?? 0n,
    purgedSequence: row?.purged_sequence ?? 0n,
    unseen: row?.unseen ?? 0,
    unread: row?.unread ?? 0,
    version: Number(row?.version ?? 0n),
  }
}
