import type { MutationResolvers } from '../generated/resolvers.ts'

export const Mutation: MutationResolvers = {
  nodeEnroll: async (_root, { input }, context) => ({
    node: await context.nodes.enroll(context, input),
  }),
  nodeProbe: async (_root, { input }, context) => ({
    node: await context.nodes.probe(context, input.id),
  }),
  nodeCordon: async (_root, { input }, context) => ({
    node: await context.nodes.cordon(context, input),
  }),
  nodeUncordon: async (_root, { input }, context) => ({
    node: await context.nodes.uncordon(context, input),
  }),
  slotRestore: async (_root, { input }, context) => ({
    slot: await context.nodes.restoreSlot(context, input),
  }),
}
