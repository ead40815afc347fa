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

/** Null when there is none yet. */
export async function newestPepper(sql: Sql): Promise<number | null> {
  const [row] = await sql.query<{ id: number | null }>('SELECT max(id) AS id FROM peppers')
  return row?.id ?? null
}

export async function insertPepper(
  sql: Sql,
  id: number,
  secretEnc: Encrypted<string>,
): Promise<void> {
  await sql.query('INSERT INTO peppers (id, secret_enc) VALUES ($1::smallint, $2)', [id, secretEnc])
}

/** How many secrets were hashed with a pepper: those that are good, and those that are over. */
export type PepperUse = {
  readonly id: number
  readonly createdAt: Date
  readonly apiKeys: number
  /** Secrets before a rotation, in their overlap. */
  readonly overlaps: number
  readonly invitations: number
  /** Kept until they are swept. */
  readonly ended: number
}

/** The newest last. */
export async function pepperUses(sql: Sql): Promise<PepperUse[]> {
  return sql.query<PepperUse>(
    `SELECT p.id, p.created_at AS "createdAt",
       coalesce(sum(n) FILTER (WHERE what = 'key' AND is_good), 0)::int AS "apiKeys",
       coalesce(sum(n) FILTER (WHERE what = 'overlap' AND is_good), 0)::int AS overlaps,
       coalesce(sum(n) FILTER (WHERE what = 'invitation' AND is_good), 0)::int AS invitations,
       coalesce(sum(n) FILTER (WHERE NOT is_good), 0)::int AS ended
     FROM peppers p LEFT JOIN (
       SELECT 'key' AS what, pepper_id, least(revoked_at, expires_at) > now() AS is_good, count(*) AS n
       FROM api_keys GROUP BY 2, 3
       UNION ALL
       SELECT 'overlap', previous_pepper_id, least(revoked_at, expires_at, previous_ends_at) > now(), count(*)
       FROM api_keys WHERE previous_pepper_id IS NOT NULL GROUP BY 2, 3
       UNION ALL
       SELECT 'invitation', pepper_id, least(accepted_at, revoked_at, expires_at) > now(), count(*)
       FROM invitations GROUP BY 2, 3
     ) used ON used.pepper_id = p.id
     GROUP BY p.id ORDER BY p.id`,
  )
}

/** @returns false when there is none of this id, or it is the newest. @throws 23503 when it is in use */
export async function retirePepper(sql: Sql, id: number): Promise<boolean> {
  const [row] = await sql.query<{ is_retired: boolean }>(
    'SELECT retire_pepper($1::smallint) AS is_retired',
    [id],
  )
  return row?.is_retired === true
}
