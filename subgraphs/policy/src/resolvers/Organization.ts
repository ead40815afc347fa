import { parseId } from '@berth/platform/ids'
import type { OrganizationResolvers } from '../generated/resolvers.ts'

export const Organization: OrganizationResolvers = {
  __resolveReference: ({ id }, { actor, directory }) =>
    directory.organization(actor, parseId('org', id)),
  members: ({ id }, _args, { actor, directory }) => directory.members(actor, id),
}
