import type { Sql } from '@berth/platform/database'
import type { Retention } from '../domain/notification.ts'

/** People (uuids, in order) who have notifications of this class from before a time. */
export async function usersBefore(
  sql: Sql,
  retention: Retention,
  before: Date,
  limit: number,
): Promise<string[]> {
  const rows = await sql.query<{ user_id: string }>(
    `SELECT DISTINCT user_id FROM notifications
     WHERE retention = $1 AND occurred_at < $2::timestamptz ORDER BY user_id LIMIT $3::int`,
    [retention, before, limit],
  )
  return rows.map(({ user_id }) => user_id)
}

/** Deletes them, raises each inbox's purge floor over them, and takes them out of the counts. */
export async function deleteBefore(
  sql: Sql,
  retention: Retention,
  before: Date,
  users: readonly string[],
): Promise<void> {
  await sql.query(
    'SELECT 1 FROM inboxes WHERE user_id = ANY ($1::uuid[]) ORDER BY user_id FOR UPDATE',
    [users],
  )
  await sql.query(
    `WITH gone AS (
       DELETE FROM notifications
       WHERE retention = $1 AND occurred_at < $2::timestamptz AND user_id = ANY ($3::uuid[])
       RETURNING user_id, sequence, CASE WHEN is_hidden THEN 'HIDDEN' ELSE status END AS status
     ), per_inbox AS (
       SELECT user_id, max(sequence) AS last,
         count(*) FILTER (WHERE status = 'UNSEEN') AS unseen,
         count(*) FILTER (WHERE status IN ('UNSEEN', 'SEEN')) AS unread
       FROM gone GROUP BY user_id
     )
     UPDATE inboxes i SET purged_sequence = greatest(i.purged_sequence, p.last),
       unseen = i.unseen - p.unseen, unread = i.unread - p.unread,
       version = i.version + 1, updated_at = now()
     FROM per_inbox p WHERE i.user_id = p.user_id`,
    [retention, before, users],
  )
}

/** @returns how many months' tables were dropped */
export async function dropEmptyMonths(
  sql: Sql,
  retention: Retention,
  before: Date,
): Promise<number> {
  const [row] = await sql.query<{ dropped: number }>(
    'SELECT drop_empty_months($1, $2::date) AS dropped',
    [retention, before.toISOString().slice(0, 10)],
  )
  return row?.dropped ?? 0
}
