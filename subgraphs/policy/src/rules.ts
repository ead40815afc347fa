import { allow, and, inOrganization, mayDo, type Rules } from '@berth/platform/shield'

/**
 * Who may call what; whatever is not named here is denied. Whose a person or an organization is, the
 * directory asks.
 */
export const rules: Rules = {
  Query: {
    viewer: allow,
    organization: and(inOrganization, mayDo('organization:read')),
  },
  Viewer: allow,
  User: allow,
  Organization: { '*': allow, members: mayDo('organization:members') },
  Membership: allow,
}
