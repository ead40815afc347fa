import type { MutationResolvers } from '../generated/resolvers.ts'

export const Mutation: MutationResolvers = {
  inboxMark: (_root, { input }, context) => context.inbox.mark(context, input.ids, input.status),
}
