import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, newUuid } from '@berth/platform/ids'
import type { z } from 'zod'

export type PolicyValue = {
  key: string
  version: bigint
  value: z.output<ReturnType<typeof z.json>>
}

/** The values under these keys as they hold in an organization: its own before the platform's. */
export async function readPolicyValues(
  sql: Sql,
  organizationId: Id<'org'> | null,
  keys: readonly string[],
): Promise<PolicyValue[]> {
  return sql.query<PolicyValue>(
    `SELECT DISTINCT ON (key) key, version, value FROM policy_values
     WHERE key = ANY ($1::text[]) AND (organization_id IS NULL OR organization_id = $2::uuid)
     ORDER BY key, organization_id NULLS LAST`,
    [keys, organizationId && idToUuid(organizationId)],
  )
}

/**
 * Sets a value, for the platform when no organization is named.
 *
 * @returns its version, one more than before
 */
export async function writePolicyValue(
  sql: Sql,
  organizationId: Id<'org'> | null,
  key: string,
  value: unknown,
): Promise<bigint> {
  const target = organizationId
    ? '(key, organization_id) WHERE organization_id IS NOT NULL'
    : '(key) WHERE organization_id IS NULL'
  const [row] = await sql.query<{ version: bigint }>(
    `INSERT INTO policy_values AS p (id, key, scope, organization_id, value)
     VALUES ($1::uuid, $2, $3, $4::uuid, $5::jsonb)
     ON CONFLICT ${target} DO UPDATE
       SET value = EXCLUDED.value, version = p.version + 1, default_revision = NULL, updated_at = now()
     RETURNING version`,
    [
      newUuid(),
      key,
      organizationId ? 'ORGANIZATION' : 'PLATFORM',
      organizationId && idToUuid(organizationId),
      JSON.stringify(value),
    ],
  )
  if (!row) throw new Error('an upsert returns its row')
  return row.version
}

/**
 * Gives the platform a built-in value, unless it has one that somebody set or one as recent.
 *
 * @returns its version, or null when nothing changed
 */
export async function writeDefault(
  sql: Sql,
  key: string,
  value: unknown,
  revision: number,
): Promise<bigint | null> {
  const [row] = await sql.query<{ version: bigint }>(
    `INSERT INTO policy_values AS p (id, key, scope, value, default_revision)
     VALUES ($1::uuid, $2, 'PLATFORM', $3::jsonb, $4::int)
     ON CONFLICT (key) WHERE organization_id IS NULL DO UPDATE
       SET value = EXCLUDED.value, version = p.version + 1,
         default_revision = EXCLUDED.default_revision, updated_at = now()
       WHERE p.default_revision < EXCLUDED.default_revision
     RETURNING version`,
    [newUuid(), key, JSON.stringify(value), revision],
  )
  return row?.version ?? null
}
