import { createHash } from 'node:crypto'
import { type Actor, actorToClaims, requirePerson } from '@berth/platform/actor'
import { type AuditFacts, appendAudit } from '@berth/platform/audit'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { idToUuid } from '@berth/platform/ids'
import type { PolicyClient } from '@berth/platform/policy-client'
import { type Hints, policyInvalidateChannel } from '@berth/platform/pubsub'
import type { PolicyDatabase } from '../database.ts'
import { canonicalJson, type Json } from '../domain/canonical-json.ts'
import { checkWhole } from '../domain/input.ts'
import {
  DEFAULT_REVISION,
  type PolicyLevel,
  parsePolicy,
  permissionAt,
  policyAt,
  RULES_POLICY,
} from '../domain/policy-keys.ts'
import { ceilingOf, checkCeiling, settingsOf } from '../domain/policy-levels.ts'
import type { RulesLevel } from '../engine/port.ts'
import * as store from '../store/policies.ts'
import { findVersion } from '../store/policy-changes.ts'
import { requireReason } from './operators.ts'
import { lockWhose, type PolicyTarget, targetOf } from './policy-target.ts'

/** What is wrong with a text of `authz.rules` at a level; nothing, when it may be set. */
export type ValidateRules = (text: string, level: RulesLevel) => Promise<readonly string[]>

/** Which setting is to change, out of which version, and why. */
export type PolicyChangeInput = PolicyTarget & {
  readonly reason: string
  /** 0 when it was never set. */
  readonly expectedVersion: number
}

export type Changed = store.PolicyScope & { readonly key: string; readonly version: number }

/**
 * Changes policies: at PLATFORM and GRANT for operators, at ORGANIZATION and USER for those who manage
 * the organization's own. Each change is a version with its line in the history and the audit, and is
 * told of after it is committed.
 *
 * All throw {DomainError} FORBIDDEN without the level's permission, and for keys; BAD_INPUT for an
 * unknown key, a level that it is not set at, a value that it cannot have or above the ceiling, and
 * without a reason; NOT_FOUND for an organization or a member that is not there, or not one's own;
 * CONFLICT when the version is another one by now.
 */
export type PolicyChanges = {
  set(asked: Keyed, input: PolicyChangeInput & { value: unknown }): Promise<Changed>
  /** Unsets it; at PLATFORM, gives it the built-in value back. Again changes nothing. */
  reset(asked: Keyed, input: PolicyChangeInput): Promise<Changed>
  /** Sets it as it was at an earlier version, if that may still be set: NOT_FOUND when there is none. */
  rollback(asked: Keyed, input: PolicyChangeInput & { toVersion: number }): Promise<Changed>
}

type Next = { readonly value: unknown; readonly defaultRevision?: number }

export function createPolicyChanges({
  database,
  policy,
  hints,
  validateRules,
}: {
  database: PolicyDatabase
  policy: Pick<PolicyClient, 'can'>
  hints: Pick<Hints, 'publish'>
  validateRules: ValidateRules
}): PolicyChanges {
  return {
    async set(asked, { value, ...input }) {
      await requirePermission(asked.actor, input.level)
      const next = { value: await check(input.key, input.level, value) }
      return change(asked, 'policy.set', input, { value }, async () => next)
    },

    reset: (asked, input) =>
      change(asked, 'policy.reset', input, {}, async (_sql, current) => {
        if (input.level === 'PLATFORM') {
          const { initial } = policyAt(input.key, input.level)
          const isBuiltIn = current?.defaultRevision === DEFAULT_REVISION
          return isBuiltIn ? null : { value: initial, defaultRevision: DEFAULT_REVISION }
        }
        return current === null || current.value === null ? null : { value: null }
      }),

    async rollback(asked, { toVersion, ...input }) {
      checkWhole('toVersion', toVersion, 1, Number.MAX_SAFE_INTEGER)
      return change(asked, 'policy.rollback', input, { toVersion }, async (sql, current) => {
        const earlier = current && (await findVersion(sql, current.id, toVersion))
        if (!earlier) {
          throw new DomainError('NOT_FOUND', `${input.key} has no version ${toVersion} there`)
        }
        const { value } = earlier
        return { value: value === null ? null : await check(input.key, input.level, value) }
      })
    },
  }

  /** @param decide what it is from now on; null leaves it as it is */
  async function change(
    asked: Keyed,
    operation: string,
    { expectedVersion, ...input }: PolicyChangeInput,
    what: object,
    decide: (sql: Sql, current: store.PolicySetting | null) => Promise<Next | null>,
  ): Promise<Changed> {
    const { actor } = asked
    policyAt(input.key, input.level)
    const reason = requireReason(input.reason)
    checkWhole('expectedVersion', expectedVersion, 0, Number.MAX_SAFE_INTEGER)
    await requirePermission(actor, input.level)
    const setting = targetOf(actor, input)
    const { key, level, organizationId, userId } = setting
    const request = { ...setting, reason, expectedVersion, ...what }
    const { version } = await database.sqlTransaction((sql) =>
      idempotent(sql, asked, operation, request, async () => {
        await lockWhose(sql, actor, setting)
        await store.lockPolicy(sql, key, organizationId)
        const all = await store.readSettings(sql, [key], setting)
        const current = all.find((it) => it.level === level) ?? null
        const now = Number(current?.version ?? 0)
        if (now !== expectedVersion) {
          throw new DomainError(
            'CONFLICT',
            `${key} is at version ${now} there, not ${expectedVersion}: read it again, then decide`,
            { currentVersion: now },
          )
        }
        const next = await decide(sql, current)
        if (next === null) return { version: now }
        const { combination } = policyAt(key, level)
        checkCeiling(next.value, ceilingOf(combination, level, settingsOf(all)))
        const written = await store.writeSetting(sql, setting, current, {
          value: next.value,
          defaultRevision: next.defaultRevision ?? null,
          actor: actorToClaims(actor),
          reason,
        })
        await appendAudit(sql, {
          organizationId: organizationId && idToUuid(organizationId),
          actor,
          action: operation,
          target: key,
          reason,
          facts: { level, userId, version: Number(written) },
          ...told('before', current?.value),
          ...told('after', next.value),
        })
        return { version: Number(written) }
      }),
    )
    // Also of one that was made before: what told of it may have been lost.
    await hints.publish(policyInvalidateChannel(key, organizationId), String(version))
    return { key, organizationId, userId, version }
  }

  async function requirePermission(actor: Actor, level: PolicyLevel): Promise<void> {
    requirePerson(actor)
    const permission = permissionAt[level]
    // Before the transaction: it may ask the database by another connection.
    if (await policy.can(actor, permission)) return
    throw new DomainError('FORBIDDEN', `To change a policy at ${level} needs ${permission}`)
  }

  async function check(key: string, level: PolicyLevel, value: unknown): Promise<unknown> {
    const parsed = parsePolicy(key, level, value)
    if (key !== RULES_POLICY || parsed === '') return parsed
    // At no other level are there rules.
    const at = level === 'PLATFORM' ? level : 'ORGANIZATION'
    const problems = await validateRules(String(parsed), at)
    if (problems.length === 0) return parsed
    throw new DomainError('BAD_INPUT', `\`value\`: ${problems.slice(0, 5).join('; ')}`)
  }
}

/**
 * Small values as they are; of long ones, and of texts, in which people write what they like, what tells
 * them apart; nothing of what is not set.
 */
function told(name: 'before' | 'after', value: unknown): Partial<Record<typeof name, AuditFacts>> {
  if (value === null || value === undefined) return {}
  const text = canonicalJson(value as Json)
  if (typeof value !== 'string' && text.length <= MAX_TOLD) return { [name]: { value: text } }
  const sha256 = createHash('sha256').update(text).digest('hex')
  return { [name]: { sha256, characters: text.length } }
}

const MAX_TOLD = 2_000
