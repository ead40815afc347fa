import type { ViewerResolvers } from '../generated/resolvers.ts'

export const Viewer: ViewerResolvers = {
  user: (actor, _args, { directory }) => directory.self(actor),
  organization: (actor, _args, { directory }) =>
    actor.organizationId && directory.organization(actor, actor.organizationId),
  membership: (actor, _args, { directory }) => directory.ownMembership(actor),
  roles: ({ roles }) => [...roles],
}
