import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'
import type { ApiKey } from '../model.ts'
import type { SecretHash } from '../service/secrets.ts'

/** A key with what its secrets are compared with. */
export type KeptApiKey = ApiKey & {
  readonly current: SecretHash
  readonly previous: SecretHash | null
}

const SELECT = `
  SELECT k.*, m.role AS maker_role FROM api_keys k
  LEFT JOIN memberships m ON m.organization_id = k.organization_id AND m.user_id = k.created_by`

type Row = {
  id: string
  organization_id: string
  name: string
  scopes: string[]
  allowed_cidrs: string[] | null
  secret_hash: Buffer
  pepper_id: number
  previous_hash: Buffer | null
  previous_pepper_id: number | null
  previous_ends_at: Date | null
  created_by: string
  created_at: Date
  expires_at: Date
  revoked_at: Date | null
  last_used_at: Date | null
  maker_role: OrganizationRole | null
}

export async function insertApiKey(
  sql: Sql,
  key: Omit<ApiKey, 'makerRole' | 'previousEndsAt' | 'revokedAt' | 'lastUsedAt'>,
  { hash, pepperId }: SecretHash,
): Promise<void> {
  await sql.query(
    `INSERT INTO api_keys (id, organization_id, name, scopes, allowed_cidrs, secret_hash, pepper_id,
       created_by, created_at, expires_at)
     VALUES ($1::uuid, $2::uuid, $3, $4::text[], $5::text[], $6::bytea, $7::smallint, $8::uuid,
       $9::timestamptz, $10::timestamptz)`,
    [
      idToUuid(key.id),
      idToUuid(key.organizationId),
      key.name,
      key.scopes,
      key.allowedCidrs,
      hash,
      pepperId,
      idToUuid(key.createdBy),
      key.createdAt,
      key.expiresAt,
    ],
  )
}

/** A key, and who of those that it depends on is suspended. */
export type PresentedApiKey = KeptApiKey & {
  readonly suspended: 'organization' | 'maker' | null
  /** What its secrets are to be hashed with. */
  readonly newestPepperId: number
}

/** Whose it is is not known yet: by its id alone. */
export async function findPresented(sql: Sql, id: Id<'key'>): Promise<PresentedApiKey | null> {
  const [row] = await sql.query<
    Row & { suspended: PresentedApiKey['suspended']; newest_pepper_id: number }
  >(
    `SELECT k.*, m.role AS maker_role, (SELECT max(id) FROM peppers) AS newest_pepper_id,
       CASE WHEN o.suspended_at IS NOT NULL THEN 'organization'
            WHEN u.suspended_at IS NOT NULL THEN 'maker' END AS suspended
     FROM api_keys k
     JOIN organizations o ON o.id = k.organization_id
     JOIN users u ON u.id = k.created_by
     LEFT JOIN memberships m ON m.organization_id = k.organization_id AND m.user_id = k.created_by
     WHERE k.id = $1::uuid`,
    [idToUuid(id)],
  )
  if (!row) return null
  const { suspended, newest_pepper_id: newestPepperId } = row
  return { ...keptOf(row), suspended, newestPepperId }
}

/** @param isLocked holds the row to the end of the transaction */
export async function findApiKey(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'key'>,
  { isLocked = false } = {},
): Promise<KeptApiKey | null> {
  const [row] = await sql.query<Row>(
    `${SELECT} WHERE k.organization_id = $1::uuid AND k.id = $2::uuid ${isLocked ? 'FOR UPDATE OF k' : ''}`,
    [idToUuid(organizationId), idToUuid(id)],
  )
  return row ? keptOf(row) : null
}

/** A page, newest first. */
export async function listApiKeys(
  sql: Sql,
  organizationId: Id<'org'>,
  { take, after }: { take: number; after: Id<'key'> | null },
): Promise<ApiKey[]> {
  const rows = await sql.query<Row>(
    `${SELECT} WHERE k.organization_id = $1::uuid AND ($2::uuid IS NULL OR k.id < $2::uuid)
     ORDER BY k.id DESC LIMIT $3::int`,
    [idToUuid(organizationId), after && idToUuid(after), take],
  )
  return rows.map(apiKeyOf)
}

/** Those that have not ended by themselves. */
export async function countLive(sql: Sql, organizationId: Id<'org'>, now: Date): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM api_keys
     WHERE organization_id = $1::uuid AND revoked_at IS NULL AND expires_at > $2::timestamptz`,
    [idToUuid(organizationId), now],
  )
  return row?.count ?? 0
}

/** @returns the number of the event that tells of it */
export async function replaceSecret(
  sql: Sql,
  { id, current, previousEndsAt, expiresAt }: Omit<KeptApiKey, 'previous'>,
  next: SecretHash,
): Promise<bigint> {
  return numberOf(
    await sql.query<{ number: bigint }>(
      `UPDATE api_keys SET secret_hash = $2::bytea, pepper_id = $3::smallint,
         previous_hash = $4::bytea, previous_pepper_id = $5::smallint,
         previous_ends_at = $6::timestamptz, expires_at = $7::timestamptz, event_seq = event_seq + 1
       WHERE id = $1::uuid AND revoked_at IS NULL RETURNING event_seq AS number`,
      [
        idToUuid(id),
        next.hash,
        next.pepperId,
        previousEndsAt && current.hash,
        previousEndsAt && current.pepperId,
        previousEndsAt,
        expiresAt,
      ],
    ),
  )
}

/** @returns the number of the event that tells of it */
export async function setRevoked(sql: Sql, id: Id<'key'>, now: Date): Promise<bigint> {
  return numberOf(
    await sql.query<{ number: bigint }>(
      `UPDATE api_keys SET revoked_at = $2::timestamptz, previous_hash = NULL,
         previous_pepper_id = NULL, previous_ends_at = NULL, event_seq = event_seq + 1
       WHERE id = $1::uuid AND revoked_at IS NULL RETURNING event_seq AS number`,
      [idToUuid(id), now],
    ),
  )
}

/** The same secret under another pepper, unless it was rotated or hashed anew in the meantime. */
export async function rehash(
  sql: Sql,
  id: Id<'key'>,
  before: SecretHash,
  after: SecretHash,
): Promise<void> {
  const isCurrent = 'secret_hash = $2::bytea AND pepper_id = $3::smallint'
  const isPrevious = 'previous_hash = $2::bytea AND previous_pepper_id = $3::smallint'
  await sql.query(
    `UPDATE api_keys SET
       secret_hash = CASE WHEN ${isCurrent} THEN $4::bytea ELSE secret_hash END,
       pepper_id = CASE WHEN ${isCurrent} THEN $5::smallint ELSE pepper_id END,
       previous_hash = CASE WHEN ${isPrevious} THEN $4::bytea ELSE previous_hash END,
       previous_pepper_id = CASE WHEN ${isPrevious} THEN $5::smallint ELSE previous_pepper_id END
     WHERE id = $1::uuid AND ((${isCurrent}) OR (${isPrevious}))`,
    [idToUuid(id), before.hash, before.pepperId, after.hash, after.pepperId],
  )
}

/** Notes that it was used, unless somebody has done so in the minute before. */
export async function noteUse(sql: Sql, id: Id<'key'>, now: Date): Promise<void> {
  await sql.query(
    `UPDATE api_keys SET last_used_at = $2::timestamptz
     WHERE id = $1::uuid AND (last_used_at IS NULL OR last_used_at <= $2::timestamptz - interval '1 minute')`,
    [idToUuid(id), now],
  )
}

function numberOf([row]: { number: bigint }[]): bigint {
  if (!row) throw new Error('the key was read under its lock')
  return row.number
}

function keptOf(row: Row): KeptApiKey {
  return {
    ...apiKeyOf(row),
    current: { hash: row.secret_hash, pepperId: row.pepper_id },
    previous:
      row.previous_hash && row.previous_pepper_id !== null
        ? { hash: row.previous_hash, pepperId: row.previous_pepper_id }
        : null,
  }
}

function apiKeyOf(row: Row): ApiKey {
  return {
    id: uuidToId('key', row.id),
    organizationId: uuidToId('org', row.organization_id),
    name: row.name,
    scopes: row.scopes,
    allowedCidrs: row.allowed_cidrs,
    createdBy: uuidToId('usr', row.created_by),
    makerRole: row.maker_role,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    previousEndsAt: row.previous_ends_at,
    revokedAt: row.revoked_at,
    lastUsedAt: row.last_used_at,
  }
}
