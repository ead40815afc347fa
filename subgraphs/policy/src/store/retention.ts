import type { Sql } from '@berth/platform/database'

/** @returns whether there may be more to sweep */
export async function sweepSessions(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ swept: bigint }>('SELECT sweep_sessions() AS swept')
  return row !== undefined && row.swept > 0n
}

/** Invitations and API keys. @returns whether there may be more to sweep */
export async function sweepEndedCredentials(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ swept: bigint }>('SELECT sweep_ended_credentials() AS swept')
  return row !== undefined && row.swept > 0n
}
