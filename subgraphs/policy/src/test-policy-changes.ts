import type { Actor } from '@berth/platform/actor'
import type { Id } from '@berth/platform/ids'
import type { PolicyLevel } from './domain/policy-keys.ts'
import type { Policy } from './test-organization.ts'
import { actors, type GraphqlAnswer } from './test-policy.ts'

export const RATE_KEY = 'ratelimit.query'

/** Which setting, and who is to change it. */
export type At = {
  readonly level: PolicyLevel
  readonly key?: string
  readonly organizationId?: Id<'org'>
  readonly userId?: Id<'usr'>
}

/** What came of a change: what holds there and its version, or why it was refused. */
export type Outcome = {
  readonly code?: string
  readonly message?: string
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for.
  readonly extensions?: any
  readonly version?: number
  readonly effective?: unknown
}

const POLICY = 'effective settings { level value ceiling version }'

/** Changes policies as people do, over GraphQL. */
export function policyChanger(policy: Policy) {
  async function send(
    actor: Actor,
    field: 'policySet' | 'policyReset' | 'policyRollback',
    { key = RATE_KEY, ...at }: At,
    rest: Record<string, unknown>,
    headers: Record<string, string> = {},
  ): Promise<Outcome> {
    const type = `${field.charAt(0).toUpperCase()}${field.slice(1)}Input`
    const query = `mutation ($input: ${type}!) { it: ${field}(input: $input) { version policy { ${POLICY} } } }`
    const expectedVersion = rest.expectedVersion ?? (await versionOf({ key, ...at }))
    const input = { key, ...at, reason: 'a test', ...rest, expectedVersion }
    return outcomeOf(await policy.graphql(actor, query, { input }, headers))
  }

  /** As the database has it; 0 when it was never set. */
  async function versionOf({ key = RATE_KEY, level, organizationId, userId }: At): Promise<number> {
    const whose = [
      organizationId ? `organizationId: "${organizationId}"` : '',
      userId ? `userId: "${userId}"` : '',
    ].join(' ')
    const query = `query ($key: String!) { policy(key: $key ${whose}) { settings { level version } } }`
    const { data } = await policy.graphql(actors.operator, query, { key })
    const settings: { level: PolicyLevel; version: number }[] = data?.policy?.settings ?? []
    return settings.find((it) => it.level === level)?.version ?? 0
  }

  return {
    versionOf,
    set: (actor: Actor, at: At, value: unknown, rest: object = {}, headers = {}) =>
      send(actor, 'policySet', at, { value, ...rest }, headers),
    reset: (actor: Actor, at: At, rest: object = {}) => send(actor, 'policyReset', at, { ...rest }),
    rollback: (actor: Actor, at: At, toVersion: number, rest: object = {}) =>
      send(actor, 'policyRollback', at, { toVersion, ...rest }),
    /** What holds for an organization, or for a member of it. */
    async effective(key: string, organizationId?: Id<'org'>, userId?: Id<'usr'>) {
      const { values } = await policy.policies.read({
        keys: [key],
        ...(organizationId && { organizationId }),
        ...(userId && { userId }),
      })
      return values[0]?.value
    },
  }
}

function outcomeOf({ data, errors }: GraphqlAnswer): Outcome {
  const [error] = errors ?? []
  if (error) {
    return { code: error.extensions.code, message: error.message, extensions: error.extensions }
  }
  return { version: data.it.version, effective: data.it.policy.effective }
}
