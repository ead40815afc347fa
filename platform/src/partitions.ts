import type { Log } from './log.ts'
import type { Sql } from './sql.ts'

const DAY_MS = 86_400_000

/**
 * Makes the monthly partitions of the schema's partitioned tables ahead of time.
 *
 * @param since also those from this month on, for rows of the past
 * @returns how many were made
 */
export async function ensurePartitions(sql: Sql, monthsAhead = 3, since?: Date): Promise<number> {
  const day = since?.toISOString().slice(0, 10) ?? null
  const rows = await sql.query<{ made: number }>(
    'SELECT ensure_partitions($1::int, $2::date) AS made',
    [monthsAhead, day],
  )
  return rows[0]?.made ?? 0
}

/** Now, and daily. @throws when the first time fails: without partitions nothing can be written. */
export async function keepPartitions({
  sql,
  log,
  scope,
}: {
  sql: Sql
  log: Log
  scope: AsyncDisposableStack
}): Promise<void> {
  await ensurePartitions(sql)
  const timer = setInterval(() => {
    ensurePartitions(sql).catch((error: unknown) =>
      log.error({ err: error }, 'partitions could not be made ahead'),
    )
  }, DAY_MS)
  scope.defer(() => clearInterval(timer))
}
