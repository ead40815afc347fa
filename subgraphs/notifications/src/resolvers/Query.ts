import type { QueryResolvers } from '../generated/resolvers.ts'

export const Query: QueryResolvers = {
  inbox: (_root, args, { actor, inbox }) => inbox.page(actor, args),
  inboxCounts: (_root, _args, { actor, inbox }) => inbox.counts(actor),
}
