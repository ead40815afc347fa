import type { Sql } from '@berth/platform/database'

export type Revocation = {
  readonly version: bigint
  readonly kind: string
  readonly subject: string
}

/** The latest version, and of the revocations after one the first ones: of the same moment. */
export async function readRevocations(
  sql: Sql,
  after: number | null,
  limit: number,
): Promise<{ latest: bigint; revocations: Revocation[] }> {
  const rows = await sql.query<{ latest: bigint } & (Revocation | { version: null })>(
    `SELECT c.version AS latest, r.version, r.kind, r.subject
     FROM revocation_counter c LEFT JOIN LATERAL (
       SELECT version, kind, subject FROM revocations
       WHERE version > $1::bigint ORDER BY version LIMIT $2::int
     ) r ON true
     ORDER BY r.version`,
    [after, limit],
  )
  const latest = rows[0]?.latest
  if (latest === undefined) throw new Error('the counter of revocations has its row')
  return { latest, revocations: rows.filter((row) => row.version !== null) as Revocation[] }
}

/** @returns whether there is more to sweep */
export async function sweepRevocations(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ swept: bigint }>('SELECT sweep_revocations() AS swept')
  return row !== undefined && row.swept > 0n
}
