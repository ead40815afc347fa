import type { Sql } from '@berth/platform/database'
import type { Id } from '@berth/platform/ids'
import { policyOf } from '../domain/policy-keys.ts'
import { combine, settingsOf } from '../domain/policy-levels.ts'
import { readSettings } from '../store/policies.ts'

/**
 * How many there may be, as of now.
 *
 * @param sql of the transaction that counts and adds
 * @param key of a `quota.` policy
 * @param organizationId null for what is nobody's but the platform's to set
 */
export async function readQuota(
  sql: Sql,
  key: `quota.${string}`,
  organizationId: Id<'org'> | null,
): Promise<number> {
  const { combination, initial } = policyOf(key)
  const settings = await readSettings(sql, [key], { organizationId, userId: null })
  return Number(combine(combination, settingsOf(settings)) ?? initial)
}
