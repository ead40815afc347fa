import type { SqlDatabase } from './database.ts'
import { type Hints, outboxChannel } from './pubsub.ts'

export type Assigned = {
  readonly lastPosition: bigint
  /** Whose events they are; null for the platform's. */
  readonly organizationIds: readonly (string | null)[]
}

const PAGE = 500

/**
 * Gives committed events their positions. Whoever reads up to a position never misses a smaller one:
 * positions are given after the commit, and under one row lock, so that they become visible in order.
 *
 * @returns null when there was nothing without a position
 */
export async function assignPositions(database: SqlDatabase): Promise<Assigned | null> {
  const waiting = await database.sql.query('SELECT FROM outbox WHERE stream_seq IS NULL LIMIT 1')
  if (waiting.length === 0) return null
  return database.sqlTransaction(async (sql) => {
    await sql.query(
      'INSERT INTO stream_positions (stream) VALUES (current_schema()) ON CONFLICT DO NOTHING',
    )
    await sql.query('SELECT FROM stream_positions WHERE stream = current_schema() FOR UPDATE')
    // A statement of its own: its snapshot is younger than the lock.
    const rows = await sql.query<{ organization_id: string | null }>(
      `WITH picked AS (
         SELECT id, row_number() OVER (ORDER BY insert_seq) AS nth
         FROM (SELECT id, insert_seq FROM outbox WHERE stream_seq IS NULL
               ORDER BY insert_seq LIMIT ${PAGE}) AS page
       )
       UPDATE outbox SET stream_seq = last_seq + nth
       FROM picked, stream_positions
       WHERE outbox.id = picked.id AND stream = current_schema()
       RETURNING outbox.organization_id`,
    )
    if (rows.length === 0) return null
    const [position] = await sql.query<{ last_seq: bigint }>(
      `UPDATE stream_positions SET last_seq = last_seq + $1::bigint, updated_at = now()
       WHERE stream = current_schema() RETURNING last_seq`,
      [rows.length],
    )
    const organizationIds = [...new Set(rows.map((row) => row.organization_id))]
    return { lastPosition: position?.last_seq ?? 0n, organizationIds }
  })
}

/** Tells who follows these organizations' events to read on. */
export async function hintPositions(hints: Hints, domain: string, assigned: Assigned) {
  const text = String(assigned.lastPosition)
  await Promise.all(
    assigned.organizationIds.map((it) => hints.publish(outboxChannel(domain, it), text)),
  )
}
