import type { Sql } from '@berth/platform/database'
import { idToUuid, isId } from '@berth/platform/ids'
import type { PolicyLevel } from '../domain/policy-keys.ts'
import type { PolicyChange } from '../model.ts'
import type { PolicyScope } from './policies.ts'

/** One version of a setting: `undefined` when there is none, a null value when it unset it. */
export async function findVersion(
  sql: Sql,
  settingId: string,
  version: number,
): Promise<{ value: unknown } | undefined> {
  const [row] = await sql.query<{ value: unknown }>(
    'SELECT value FROM policy_changes WHERE setting_id = $1::uuid AND version = $2::bigint',
    [settingId, version],
  )
  return row
}

/** A page of a setting's history, newest first. */
export async function listChanges(
  sql: Sql,
  { key, level, organizationId, userId }: { key: string; level: PolicyLevel } & PolicyScope,
  { take, before }: { take: number; before: bigint | null },
): Promise<PolicyChange[]> {
  const rows = await sql.query<Row>(
    `SELECT c.version, c.value AS after, earlier.value AS before, c.actor, c.reason, c.at
     FROM policy_values v
     JOIN policy_changes c ON c.setting_id = v.id
     LEFT JOIN policy_changes earlier ON earlier.setting_id = v.id AND earlier.version = c.version - 1
     WHERE v.key = $1 AND v.level = $2 AND v.organization_id IS NOT DISTINCT FROM $3::uuid
       AND v.user_id IS NOT DISTINCT FROM $4::uuid AND ($5::bigint IS NULL OR c.version < $5::bigint)
     ORDER BY c.version DESC LIMIT $6::int`,
    [
      key,
      level,
      organizationId && idToUuid(organizationId),
      userId && idToUuid(userId),
      before,
      take,
    ],
  )
  return rows.map(({ actor, version, ...row }) => ({
    ...row,
    version: Number(version),
    changedBy: isId('usr', actor.sub) ? actor.sub : null,
  }))
}

type Row = Pick<PolicyChange, 'before' | 'after' | 'reason' | 'at'> & {
  version: bigint
  /** Claims, or what an operator's SQL put in their place. */
  actor: { sub?: unknown }
}
