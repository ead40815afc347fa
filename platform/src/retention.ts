import type { Sql } from './sql.ts'

/** How long a published event can be read and replayed. */
const OUTBOX_DAYS = 7
/**
 * Longer than an event can be delivered for: 7 days in the outbox, and 7 more in the stream if it is
 * published again on its last day.
 */
const PROCESSED_DAYS = 15
const BATCH = 5_000

/**
 * Deletes what is older than its retention, a batch per table.
 *
 * @returns whether there is more
 */
export async function sweep(sql: Sql): Promise<boolean> {
  const deleted = [
    // A prefix of the stream, so that what is kept has no holes.
    await sql.query(
      `DELETE FROM outbox WHERE id IN (
         SELECT id FROM outbox
         WHERE stream_seq < coalesce(
           (SELECT min(stream_seq) FROM outbox
            WHERE published_at IS NULL OR created_at >= now() - interval '${OUTBOX_DAYS} days'),
           9223372036854775807)
         ORDER BY stream_seq LIMIT ${BATCH}
       ) RETURNING 1`,
    ),
    await sql.query(
      `DELETE FROM processed_events WHERE (consumer, event_id) IN (
         SELECT consumer, event_id FROM processed_events
         WHERE processed_at < now() - interval '${PROCESSED_DAYS} days' LIMIT ${BATCH}
       ) RETURNING 1`,
    ),
    await sql.query(
      `DELETE FROM idempotency_keys WHERE (scope, key) IN (
         SELECT scope, key FROM idempotency_keys WHERE expires_at < now() LIMIT ${BATCH}
       ) RETURNING 1`,
    ),
  ]
  return deleted.some((rows) => rows.length === BATCH)
}
