import { z } from 'zod'

/**
 * The policy that says which actions a role grants: `{"<role>": ["allocation:create", "sshkey:*"]}`.
 * The platform's alone: no organization has a value of its own.
 */
export const ROLES_POLICY = 'authz.roles'

export const RolesPolicy = z.record(z.string(), z.array(z.string()))
