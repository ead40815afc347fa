import { covers } from '@berth/platform/action-pattern'
import { DomainError } from '@berth/platform/errors'
import { actionNames } from '@berth/schema/actions'
import { GPU_QUOTA } from '@berth/schema/quotas'
import { z } from 'zod'
import { checkJson, problemsOf } from './policy-json.ts'
import { ROLES_POLICY } from './roles-policy.ts'

/**
 * Where a policy is set, the widest first: for all; what the platform gives one organization in the
 * place of that; what an organization sets for itself; for one member of it.
 */
export const policyLevels = ['PLATFORM', 'GRANT', 'ORGANIZATION', 'USER'] as const
export type PolicyLevel = (typeof policyLevels)[number]

/** How what is set at several levels becomes what holds: `policy-levels.ts`. */
export type PolicyCombination = 'PLATFORM' | 'MINIMUM' | 'UNION'

/** What may be set under a key, by whom, and what it is for. */
export type PolicyKey = {
  readonly description: string
  readonly value: z.ZodType
  readonly combination: PolicyCombination
  readonly levels: readonly PolicyLevel[]
  /** What is set at PLATFORM is for operators to see: it may name other organizations. */
  readonly isPrivate?: true
  /** The value that a new installation starts with, and that a reset at PLATFORM gives back. */
  readonly initial: unknown
}

/** Raise it with every change of an `initial`: where nobody set a value, the new one replaces it. */
export const DEFAULT_REVISION = 2

/** What whoever changes a policy at a level must be permitted. */
export const permissionAt: Readonly<Record<PolicyLevel, string>> = {
  PLATFORM: 'platform:policies',
  GRANT: 'platform:policies',
  ORGANIZATION: 'policy:manage',
  USER: 'policy:manage',
}

/** Cedar text: whoever has the engine says whether it is well written. */
export const RULES_POLICY = 'authz.rules'

/** An action, or all of a kind: only such as there are. */
const action = z
  .string()
  .max(128)
  .regex(/^[a-z]+:([a-z-]+|\*)$/)
  .refine((pattern) => actionNames.some((it) => covers(pattern, it)), 'There is no such action')
const roleActions = z.record(z.string().regex(/^[a-z]+(:[a-z]+)?$/), z.array(action).max(100))

const tenant = ['allocation:read', 'billing:read', 'organization:read', 'inbox:read']
const everything = [
  'allocation:*',
  'terminal:*',
  'sshkey:*',
  'billing:*',
  'organization:*',
  'policy:*',
  'inbox:*',
]

const rate = z.strictObject({
  perMinute: z.int().min(1).max(1_000_000).describe('Operations a minute, in the long run.'),
  burst: z.int().min(1).max(100_000).describe('Operations that may come at once after a pause.'),
})

/** Of one person or API key. */
function limit(description: string, perMinute: number, burst: number): PolicyKey {
  return {
    description,
    value: rate,
    combination: 'MINIMUM',
    levels: policyLevels,
    initial: { perMinute, burst },
  }
}

const amount = z.int().min(0).max(1_000_000)

/** Of an organization: no member has one of their own. */
function quota(description: string, initial: number): PolicyKey {
  return {
    description,
    value: amount,
    combination: 'MINIMUM',
    levels: ['PLATFORM', 'GRANT', 'ORGANIZATION'],
    initial,
  }
}

/** Every policy there is. */
export const policyKeys: ReadonlyMap<string, PolicyKey> = new Map(
  Object.entries<PolicyKey>({
    [ROLES_POLICY]: {
      description: 'The actions that each role is permitted.',
      value: roleActions,
      combination: 'PLATFORM',
      levels: ['PLATFORM'],
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
        'platform:operator': ['node:*', 'inbox:read', 'platform:*'],
      },
    },
    [RULES_POLICY]: {
      description: 'Cedar policies over those of the roles. A `forbid` holds at every level.',
      value: z.string().max(50_000),
      combination: 'UNION',
      levels: ['PLATFORM', 'ORGANIZATION'],
      isPrivate: true,
      initial: '',
    },
    'quota.api-keys': quota('API keys of an organization that are good at once.', 100),
    [GPU_QUOTA.key]: quota('GPUs that an organization may hold at once.', GPU_QUOTA.initial),
    'quota.invitations': quota('Invitations of an organization that are open at once.', 100),
    'quota.members': quota('People who may belong to an organization.', 1_000),
    'quota.organizations': {
      description: 'Organizations that one person may own.',
      value: amount,
      combination: 'PLATFORM',
      levels: ['PLATFORM'],
      initial: 20,
    },
    'ratelimit.auth': {
      description: 'How often one address may try to sign in: nobody is known yet.',
      value: rate,
      combination: 'PLATFORM',
      levels: ['PLATFORM'],
      initial: { perMinute: 60, burst: 30 },
    },
    'ratelimit.mutation': limit('Mutations of one person or API key.', 600, 100),
    'ratelimit.payment': limit('Payments of one person.', 30, 10),
    'ratelimit.query': limit('Queries of one person or API key.', 3_000, 500),
    'ratelimit.subscription': limit('Subscriptions that one person or API key opens.', 300, 100),
    'ratelimit.terminal': limit('Terminals that one person opens.', 60, 20),
  }),
)

/** @throws {DomainError} BAD_INPUT when there is no such policy */
export function policyOf(key: string): PolicyKey {
  const definition = policyKeys.get(key)
  if (definition) return definition
  throw new DomainError('BAD_INPUT', `\`key\`: there is no policy ${JSON.stringify(key)}`)
}

/** @throws {DomainError} BAD_INPUT when there is no such policy, or it is not set at this level */
export function policyAt(key: string, level: PolicyLevel): PolicyKey {
  const definition = policyOf(key)
  if (definition.levels.includes(level)) return definition
  throw new DomainError(
    'BAD_INPUT',
    `\`level\`: ${key} is set at ${definition.levels.join(', ')}, not at ${level}`,
  )
}

/** @throws {DomainError} BAD_INPUT, naming what is wrong where, unless it may be set there */
export function parsePolicy(key: string, level: PolicyLevel, value: unknown): unknown {
  const definition = policyAt(key, level)
  checkJson('value', value)
  const parsed = definition.value.safeParse(value)
  if (parsed.success) return parsed.data
  throw new DomainError('BAD_INPUT', problemsOf('value', parsed.error))
}

const schemas = new WeakMap<PolicyKey, unknown>()

/** What a value of it must be, as JSON Schema (draft 2020-12). */
export function schemaOf(definition: PolicyKey): unknown {
  const schema = schemas.get(definition) ?? z.toJSONSchema(definition.value)
  schemas.set(definition, schema)
  return schema
}
