import { actorToClaims, serviceActor } from '@berth/platform/actor'
import type { Sql } from '@berth/platform/database'
import { parseId } from '@berth/platform/ids'
import { type Hints, policyInvalidateChannel } from '@berth/platform/pubsub'
import type { readPolicies } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import type { PolicyDatabase } from '../database.ts'
import { DEFAULT_REVISION, type PolicyKey, policyKeys } from '../domain/policy-keys.ts'
import { combine, settingsOf } from '../domain/policy-levels.ts'
import * as store from '../store/policies.ts'

export type Policies = {
  /** Answers `policies.read`, for other services and for the own policy client. */
  read(input: z.output<typeof readPolicies.input>): Promise<z.output<typeof readPolicies.output>>
  /** Gives the policies that nobody has set their built-in values. */
  ensureDefaults(): Promise<void>
}

/** The values of policies, as they hold. */
export function createPolicies({
  database,
  hints,
}: {
  database: PolicyDatabase
  hints: Pick<Hints, 'publish'>
}): Policies {
  return {
    async read({ keys, organizationId, userId }) {
      const settings = await store.readSettings(database.sql, keys, {
        organizationId: organizationId === undefined ? null : parseId('org', organizationId),
        userId: userId === undefined ? null : parseId('usr', userId),
      })
      const values: z.output<typeof readPolicies.output>['values'] = []
      for (const key of new Set(keys)) {
        const definition = policyKeys.get(key)
        const own = settings.filter((it) => it.key === key)
        const value = definition && combine(definition.combination, settingsOf(own))
        if (value === undefined) continue
        // Each only ever rises, and none is deleted: so does their sum.
        const version = own.reduce((sum, it) => sum + Number(it.version), 0)
        values.push({ key, version, value: value as z.output<ReturnType<typeof z.json>> })
      }
      return { values }
    },

    async ensureDefaults() {
      const keys = [...policyKeys.keys()]
      const known = await platformSettings(database.sql, keys)
      for (const [key, definition] of policyKeys) {
        if (!isOutdated(known.get(key))) continue
        const version = await database.sqlTransaction((sql) => writeDefault(sql, key, definition))
        if (version !== null) await hints.publish(policyInvalidateChannel(key), String(version))
      }
    },
  }
}

/** Null when it is not outdated any more by the time that nobody else changes it. */
async function writeDefault(sql: Sql, key: string, { initial }: PolicyKey): Promise<bigint | null> {
  await store.lockPolicy(sql, key, null)
  const current = (await platformSettings(sql, [key])).get(key) ?? null
  if (!isOutdated(current)) return null
  return store.writeSetting(sql, { key, level: 'PLATFORM', ...PLATFORM }, current, {
    value: initial,
    defaultRevision: DEFAULT_REVISION,
    actor: actorToClaims(serviceActor('policy')),
    reason: `The built-in value of revision ${DEFAULT_REVISION}`,
  })
}

const PLATFORM: store.PolicyScope = { organizationId: null, userId: null }

async function platformSettings(sql: Sql, keys: readonly string[]) {
  const settings = await store.readSettings(sql, keys, PLATFORM)
  return new Map(settings.map((it) => [it.key, it]))
}

/** Never set, or built-in and older than this build's: what somebody set has no revision. */
function isOutdated(setting: store.PolicySetting | null | undefined): boolean {
  if (!setting) return true
  return setting.defaultRevision !== null && setting.defaultRevision < DEFAULT_REVISION
}
