import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, newUuid } from '@berth/platform/ids'
import type { PolicyLevel } from '../domain/policy-keys.ts'

/** Whose policies: a member's of an organization, an organization's, or the platform's alone. */
export type PolicyScope = {
  readonly organizationId: Id<'org'> | null
  readonly userId: Id<'usr'> | null
}

/** What is set under a key at a level; a null value was set, and is not any more. */
export type PolicySetting = {
  readonly id: string
  readonly key: string
  readonly level: PolicyLevel
  readonly version: bigint
  readonly value: unknown
  readonly defaultRevision: number | null
  readonly updatedAt: Date
}

/** All that counts in a scope, of every level. */
export async function readSettings(
  sql: Sql,
  keys: readonly string[],
  { organizationId, userId }: PolicyScope,
): Promise<PolicySetting[]> {
  return sql.query<PolicySetting>(
    `SELECT id, key, level, version, value, default_revision AS "defaultRevision", updated_at AS "updatedAt"
     FROM policy_values
     WHERE key = ANY ($1::text[]) AND (
       organization_id IS NULL OR (organization_id = $2::uuid AND (user_id IS NULL OR user_id = $3::uuid))
     )`,
    [keys, organizationId && idToUuid(organizationId), userId && idToUuid(userId)],
  )
}

/**
 * Held to the end of the transaction: of one policy the platform's values change one at a time, and
 * so do those of an organization; neither while the other does.
 */
export async function lockPolicy(
  sql: Sql,
  key: string,
  organizationId: Id<'org'> | null,
): Promise<void> {
  const lock = (how: string, subject: string) =>
    sql.query(
      `SELECT ${how}(hashtextextended(concat_ws(E'\\x1f', current_schema(), 'policy', $1::text), 0))`,
      [subject],
    )
  if (organizationId === null) {
    await lock('pg_advisory_xact_lock', key)
  } else {
    await lock('pg_advisory_xact_lock_shared', key)
    await lock('pg_advisory_xact_lock', `${key} ${organizationId}`)
  }
}

/** One version of a setting, which is the one that holds from now on. Null: it is unset. */
export type NewVersion = {
  readonly value: unknown
  /** Of the built-in values, where it is one. */
  readonly defaultRevision: number | null
  /** The claims of who changes it, as in the audit. */
  readonly actor: object
  readonly reason: string
}

/**
 * Writes the next version of a setting, and its line in the history; under `lockPolicy`.
 *
 * @param current null when it was never set
 * @returns the version
 */
export async function writeSetting(
  sql: Sql,
  of: { key: string; level: PolicyLevel } & PolicyScope,
  current: Pick<PolicySetting, 'id'> | null,
  { value, defaultRevision, actor, reason }: NewVersion,
): Promise<bigint> {
  const json = value === null ? null : JSON.stringify(value)
  const id = current?.id ?? newUuid()
  const [written] = current
    ? await sql.query<{ version: bigint }>(
        `UPDATE policy_values
         SET value = $2::jsonb, version = version + 1, default_revision = $3::int, updated_at = now()
         WHERE id = $1::uuid RETURNING version`,
        [id, json, defaultRevision],
      )
    : await sql.query<{ version: bigint }>(
        `INSERT INTO policy_values (id, value, default_revision, key, level, organization_id, user_id)
         VALUES ($1::uuid, $2::jsonb, $3::int, $4, $5, $6::uuid, $7::uuid) RETURNING version`,
        [
          id,
          json,
          defaultRevision,
          of.key,
          of.level,
          of.organizationId && idToUuid(of.organizationId),
          of.userId && idToUuid(of.userId),
        ],
      )
  if (!written) throw new Error('the setting was read under the policy’s lock')
  await sql.query(
    `INSERT INTO policy_changes (setting_id, version, value, actor, reason)
     VALUES ($1::uuid, $2::bigint, $3::jsonb, $4::jsonb, $5)`,
    [id, written.version, json, JSON.stringify(actor), reason],
  )
  return written.version
}

export async function hasOrganization(sql: Sql, id: Id<'org'>): Promise<boolean> {
  const rows = await sql.query('SELECT 1 FROM organizations WHERE id = $1::uuid', [idToUuid(id)])
  return rows.length === 1
}
