import type { Sql } from '@berth/platform/database'
import type { Encrypted } from '@berth/platform/envelope'
import type { Authority } from '../domain/certificate.ts'

export type SealedAuthority = { publicKey: string; privateKeyEnc: string }

/** Held to the end of the transaction: of several first starts one makes the keys. */
export async function lockAuthorities(sql: Sql): Promise<void> {
  await sql.query(
    `SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.ssh_authorities', 0))`,
  )
}

export async function publicKeys(sql: Sql): Promise<Partial<Record<Authority, string>>> {
  const rows = await sql.query<{ name: Authority; public_key: string }>(
    'SELECT name, public_key FROM ssh_authorities',
  )
  return Object.fromEntries(rows.map((row) => [row.name, row.public_key]))
}

export async function sealedAuthority(sql: Sql, name: Authority): Promise<SealedAuthority> {
  const [row] = await sql.query<{ public_key: string; private_key_enc: string }>(
    'SELECT public_key, private_key_enc FROM ssh_authorities WHERE name = $1',
    [name],
  )
  if (!row) throw new Error(`the ${name} authority was not made at the start`)
  return { publicKey: row.public_key, privateKeyEnc: row.private_key_enc }
}

export async function addAuthority(
  sql: Sql,
  name: Authority,
  publicKey: string,
  privateKeyEnc: Encrypted<string>,
): Promise<void> {
  await sql.query(
    'INSERT INTO ssh_authorities (name, public_key, private_key_enc) VALUES ($1, $2, $3)',
    [name, publicKey, privateKeyEnc],
  )
}

/** Of either authority, each once. */
export async function nextSerial(sql: Sql): Promise<bigint> {
  const [row] = await sql.query<{ serial: bigint }>(
    `SELECT nextval('ssh_certificate_serials') AS serial`,
  )
  if (!row) throw new Error('a sequence has a next value')
  return row.serial
}
