import { parseId } from '@berth/platform/ids'
import type { OrganizationResolvers } from '../generated/resolvers.ts'

export const Organization: OrganizationResolvers = {
  __resolveReference: ({ id }, { actor, directory }) =>
    directory.organization(actor, parseId('org', id)),
  members: ({ id }, args, { actor, directory }) => directory.members(actor, id, args),
  invitations: ({ id }, args, { actor, invitations }) => invitations.list(actor, id, args),
}
