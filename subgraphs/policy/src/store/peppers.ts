import type { Sql } from '@berth/platform/database'
import type { Encrypted } from '@berth/platform/envelope'

export type SealedPepper = { readonly id: number; readonly secretEnc: string }

/** Held to the end of the transaction: of several first starts one makes it. */
export async function lockPeppers(sql: Sql): Promise<void> {
  await sql.query(
    `SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.peppers', 0))`,
  )
}

/** The newest last. */
export async function sealedPeppers(sql: Sql): Promise<SealedPepper[]> {
  return sql.query<SealedPepper>('SELECT id, secret_enc AS "secretEnc" FROM peppers ORDER BY id')
}

export async function addPepper(sql: Sql, id: number, secretEnc: Encrypted<string>): Promise<void> {
  await sql.query('INSERT INTO peppers (id, secret_enc) VALUES ($1::smallint, $2)', [id, secretEnc])
}
