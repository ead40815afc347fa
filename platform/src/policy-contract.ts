import { z } from 'zod'
import { command } from './contract.ts'

/**
 * Asks for the values of policies as they hold in an organization, or on the platform when none is
 * named. A key without a value is left out. Every service asks this, so it stands here and not
 * with the commands of one domain.
 */
export const PoliciesRead = command({
  name: 'policies.read',
  owner: 'policy',
  callers: ['gateway', 'terminal', 'allocations', 'billing', 'inventory', 'notifications'],
  input: z.strictObject({
    keys: z.array(z.string().max(128)).min(1).max(64),
    organizationId: z.string().max(64).optional(),
  }),
  output: z.strictObject({
    values: z.array(
      z.strictObject({
        key: z.string().max(128),
        version: z.int().nonnegative(),
        value: z.json(),
      }),
    ),
  }),
})

/** The policy that says which actions a role grants: `{"<role>": ["allocation:create", "image:*"]}`. */
export const ROLES_POLICY = 'authz.roles'

export const RolesPolicy = z.record(z.string(), z.array(z.string()))
