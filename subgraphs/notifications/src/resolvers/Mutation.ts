import type { MutationResolvers } from '../generated/resolvers.ts'

export const Mutation: MutationResolvers = {
  inboxMark: (_root, { input }, { actor, inbox }) => inbox.mark(actor, input.ids, input.status),
}
