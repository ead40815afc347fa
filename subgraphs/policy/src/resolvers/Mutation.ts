import type { MutationResolvers } from '../generated/resolvers.ts'

export const Mutation: MutationResolvers = {
  organizationCreate: (_root, { input }, context) =>
    context.memberships.createOrganization(context, input),
  membershipSetRole: async (_root, { input }, context) => ({
    membership: await context.memberships.setRole(context, input),
  }),
  membershipRemove: async (_root, { input }, context) => ({
    membershipId: await context.memberships.remove(context, input),
  }),
  invitationCreate: (_root, { input }, context) => context.invitations.create(context, input),
  invitationAccept: (_root, { input }, context) => context.invitations.accept(context, input),
  invitationRevoke: async (_root, { input }, context) => ({
    invitation: await context.invitations.revoke(context, input),
  }),
  apiKeyCreate: (_root, { input }, context) => context.apiKeys.create(context, input),
  apiKeyRotate: (_root, { input }, context) => context.apiKeys.rotate(context, input),
  apiKeyRevoke: async (_root, { input }, context) => ({
    apiKey: await context.apiKeys.revoke(context, input),
  }),
  sessionRevoke: async (_root, { input }, context) => ({
    sessionId: await context.sessions.revokeOwn(context, input.id),
  }),
}
