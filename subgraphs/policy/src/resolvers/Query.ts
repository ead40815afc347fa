import type { QueryResolvers } from '../generated/resolvers.ts'

export const Query: QueryResolvers = {
  viewer: (_root, _args, { actor }) => (actor.kind === 'anonymous' ? null : actor),
  organization: (_root, _args, { actor, directory }) => directory.ownOrganization(actor),
  apiKeys: (_root, args, { actor, apiKeys }) => apiKeys.list(actor, args),
  sessions: (_root, _args, { actor, sessions }) => sessions.own(actor),
}
