import { DomainError } from '@berth/platform/errors'
import { ROLES_POLICY } from '@berth/platform/policy-roles'
import { z } from 'zod'

export type PolicyScope = 'PLATFORM' | 'ORGANIZATION'

/** What may be set under a key. Where both scopes have a value, the organization's holds. */
export type PolicyKey = {
  readonly value: z.ZodType
  readonly scopes: readonly PolicyScope[]
  /** The value that a new installation starts with. */
  readonly initial: unknown
}

/** Raise it with every change of an `initial`: where nobody set a value, the new one replaces it. */
export const DEFAULT_REVISION = 1

const action = z.string().regex(/^[a-z]+:([a-z]+|\*)$/)
const roleActions = z.record(z.string().regex(/^[a-z]+(:[a-z]+)?$/), z.array(action).max(100))

const tenant = ['allocation:read', 'billing:read', 'organization:read', 'inbox:read']
const everything = [
  'allocation:*',
  'terminal:*',
  'sshkey:*',
  'billing:*',
  'organization:*',
  'inbox:*',
]

const rate = z.strictObject({
  perMinute: z.int().min(1).max(1_000_000),
  /** Requests that may come at once after a pause. */
  burst: z.int().min(1).max(100_000),
})

function limit(perMinute: number, burst: number): PolicyKey {
  return { value: rate, scopes: ['PLATFORM', 'ORGANIZATION'], initial: { perMinute, burst } }
}

/** Every policy there is. */
export const policyKeys: ReadonlyMap<string, PolicyKey> = new Map(
  Object.entries({
    [ROLES_POLICY]: {
      value: roleActions,
      scopes: ['PLATFORM'],
      initial: {
        owner: everything,
        admin: everything,
        member: [
          ...tenant,
          'allocation:create',
          'allocation:release',
          'terminal:open',
          'sshkey:manage',
        ],
        billing: [...tenant, 'billing:*'],
        viewer: tenant,
        'platform:operator': ['node:*', 'inbox:read'],
      },
    },
    'ratelimit.query': limit(3_000, 500),
    'ratelimit.mutation': limit(600, 100),
    'ratelimit.subscription': limit(300, 100),
    'ratelimit.auth': limit(60, 30),
    'ratelimit.payment': limit(30, 10),
    'ratelimit.terminal': limit(60, 20),
  }),
)

/** @throws {DomainError} BAD_INPUT when there is no such policy, or not of this value and scope */
export function parsePolicy(key: string, scope: PolicyScope, value: unknown): unknown {
  const definition = policyKeys.get(key)
  if (!definition) throw new DomainError('BAD_INPUT', `There is no policy ${JSON.stringify(key)}`)
  if (!definition.scopes.includes(scope)) {
    throw new DomainError('BAD_INPUT', `${key} is set for the platform only`)
  }
  const parsed = definition.value.safeParse(value)
  if (!parsed.success) {
    throw new DomainError('BAD_INPUT', `${key}: ${z.prettifyError(parsed.error)}`)
  }
  return parsed.data
}
