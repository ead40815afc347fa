import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'

/** What can be suspended: an id says which of the two it is. */
export type Suspendable = Id<'usr'> | Id<'org'>

/** Held to the end of the transaction: who keeps whom out is changed by one at a time. */
export async function lockOperators(sql: Sql): Promise<void> {
  await sql.query('SELECT lock_operators()')
}

/** Whether somebody runs the platform as of now, and is not suspended themselves. */
export async function isOperator(sql: Sql, userId: Id<'usr'>): Promise<boolean> {
  const rows = await sql.query(
    `SELECT 1 FROM platform_roles r JOIN users u ON u.id = r.user_id
     WHERE r.user_id = $1::uuid AND r.role = 'operator' AND u.suspended_at IS NULL`,
    [idToUuid(userId)],
  )
  return rows.length === 1
}

/** How many run the platform and are not suspended. */
export async function countOperators(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM platform_roles r JOIN users u ON u.id = r.user_id
     WHERE r.role = 'operator' AND u.suspended_at IS NULL`,
  )
  return row?.count ?? 0
}

/** Since when it is suspended, null when it is not; undefined when there is none of that id. */
export async function suspendedAt(sql: Sql, id: Suspendable): Promise<Date | null | undefined> {
  const [row] = await sql.query<{ suspended_at: Date | null }>(
    `SELECT suspended_at FROM ${tableOf(id)} WHERE id = $1::uuid FOR NO KEY UPDATE`,
    [idToUuid(id)],
  )
  return row?.suspended_at
}

/**
 * @param by who suspends it, and when; null: it is not suspended any more
 * @returns the number of the event that tells of it
 */
export async function setSuspended(
  sql: Sql,
  id: Suspendable,
  by: { userId: Id<'usr'>; at: Date } | null,
): Promise<bigint> {
  const [row] = await sql.query<{ number: bigint }>(
    `UPDATE ${tableOf(id)} SET suspended_at = $2::timestamptz, suspended_by = $3::uuid,
       event_seq = event_seq + 1
     WHERE id = $1::uuid RETURNING event_seq AS number`,
    [idToUuid(id), by?.at ?? null, by && idToUuid(by.userId)],
  )
  if (!row) throw new Error('it was read under its lock')
  return row.number
}

function tableOf(id: Suspendable): 'users' | 'organizations' {
  return id.startsWith('usr_') ? 'users' : 'organizations'
}

/** A key of the issuer by which no token is good. */
export type DeniedSigningKey = {
  readonly keyId: string
  readonly reason: string
  readonly deniedBy: Id<'usr'>
  readonly deniedAt: Date
}

type Row = { key_id: string; reason: string; denied_by: string; denied_at: Date }

/** All of them, the latest first. */
export async function listDenied(sql: Sql): Promise<DeniedSigningKey[]> {
  const rows = await sql.query<Row>(
    'SELECT * FROM denied_signing_keys ORDER BY denied_at DESC, key_id',
  )
  return rows.map(deniedOf)
}

export async function findDenied(sql: Sql, keyId: string): Promise<DeniedSigningKey | null> {
  const [row] = await sql.query<Row>('SELECT * FROM denied_signing_keys WHERE key_id = $1', [keyId])
  return row ? deniedOf(row) : null
}

export async function insertDenied(sql: Sql, key: DeniedSigningKey): Promise<void> {
  await sql.query(
    `INSERT INTO denied_signing_keys (key_id, reason, denied_by, denied_at)
     VALUES ($1, $2, $3::uuid, $4::timestamptz)`,
    [key.keyId, key.reason, idToUuid(key.deniedBy), key.deniedAt],
  )
}

/** @returns whether it was denied */
export async function deleteDenied(sql: Sql, keyId: string): Promise<boolean> {
  const rows = await sql.query('DELETE FROM denied_signing_keys WHERE key_id = $1 RETURNING 1', [
    keyId,
  ])
  return rows.length === 1
}

/** Every gateway fetches the issuer's keys anew, once this has been committed. */
export async function requestRefresh(sql: Sql, refreshId: string): Promise<void> {
  await sql.query('SELECT request_signing_key_refresh($1::uuid)', [refreshId])
}

function deniedOf({ key_id, reason, denied_by, denied_at }: Row): DeniedSigningKey {
  return { keyId: key_id, reason, deniedBy: uuidToId('usr', denied_by), deniedAt: denied_at }
}
