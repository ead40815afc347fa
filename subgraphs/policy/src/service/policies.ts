import { type Actor, OPERATOR_ROLE } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { sqlState } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { type Id, idToUuid, parseId } from '@berth/platform/ids'
import { type Hints, policyInvalidateChannel } from '@berth/platform/pubsub'
import type { readPolicies } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import type { PolicyDatabase } from '../database.ts'
import { DEFAULT_REVISION, parsePolicy, policyKeys } from '../domain/policy-keys.ts'
import { readPolicyValues, writeDefault, writePolicyValue } from '../store/policies.ts'

export type Policies = {
  /** Answers `policies.read`, for other services and for the own policy client. */
  read(input: z.output<typeof readPolicies.input>): Promise<z.output<typeof readPolicies.output>>
  /** Gives the policies that nobody has set their built-in values. */
  ensureDefaults(): Promise<void>
  /**
   * Sets a policy, then tells every service to forget what it holds.
   *
   * @returns the version
   * @throws {DomainError} FORBIDDEN unless an operator asks, BAD_INPUT when the value is none of the
   *   policy's, NOT_FOUND when there is no such organization
   */
  set(
    actor: Actor,
    change: { key: string; organizationId: Id<'org'> | null; value: unknown; reason?: string },
  ): Promise<{ version: number }>
}

export function createPolicies({
  database,
  hints,
}: {
  database: PolicyDatabase
  hints: Pick<Hints, 'publish'>
}): Policies {
  const invalidate = (key: string, version: bigint) =>
    hints.publish(policyInvalidateChannel(key), String(version))

  return {
    async read({ keys, organizationId }) {
      const id = organizationId === undefined ? null : parseId('org', organizationId)
      const values = await readPolicyValues(database.sql, id, keys)
      return { values: values.map((it) => ({ ...it, version: Number(it.version) })) }
    },

    async ensureDefaults() {
      for (const [key, { initial }] of policyKeys) {
        const version = await writeDefault(database.sql, key, initial, DEFAULT_REVISION)
        if (version !== null) await invalidate(key, version)
      }
    },

    async set(actor, { key, organizationId, value, reason }) {
      if (!actor.roles.includes(OPERATOR_ROLE)) {
        throw new DomainError('FORBIDDEN', 'Policies are set by operators of the platform')
      }
      const parsed = parsePolicy(key, organizationId ? 'ORGANIZATION' : 'PLATFORM', value)
      const version = await database
        .sqlTransaction(async (sql) => {
          const written = await writePolicyValue(sql, organizationId, key, parsed)
          await appendAudit(sql, {
            organizationId: organizationId && idToUuid(organizationId),
            actor,
            action: 'policy.set',
            target: key,
            ...(reason === undefined ? {} : { reason }),
            facts: { version: Number(written), value: JSON.stringify(parsed) },
          })
          return written
        })
        .catch((error: unknown) => {
          if (sqlState(error) !== '23503') throw error
          throw new DomainError('NOT_FOUND', `There is no organization ${organizationId}`)
        })
      await invalidate(key, version)
      return { version: Number(version) }
    },
  }
}
