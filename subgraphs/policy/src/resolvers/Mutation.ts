import type { Context } from '../context.ts'
import type { MutationResolvers } from '../generated/resolvers.ts'
import type { Changed } from '../service/policy-changes.ts'

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
  personSuspend: async (_root, { input }, context) => ({
    person: await context.suspensions.setPerson(context, input, true),
  }),
  personReinstate: async (_root, { input }, context) => ({
    person: await context.suspensions.setPerson(context, input, false),
  }),
  organizationSuspend: async (_root, { input }, context) => ({
    organization: await context.suspensions.setOrganization(context, input, true),
  }),
  organizationReinstate: async (_root, { input }, context) => ({
    organization: await context.suspensions.setOrganization(context, input, false),
  }),
  signingKeyDeny: async (_root, { input }, context) => ({
    deniedSigningKey: await context.signingKeys.deny(context, input),
  }),
  signingKeyAllow: async (_root, { input }, context) => ({
    keyId: await context.signingKeys.allow(context, input),
  }),
  policySet: async (_root, { input }, context) =>
    changed(context, await context.policyChanges.set(context, input)),
  policyReset: async (_root, { input }, context) =>
    changed(context, await context.policyChanges.reset(context, input)),
  policyRollback: async (_root, { input }, context) =>
    changed(context, await context.policyChanges.rollback(context, input)),
  sessionRevoke: async (_root, { input }, context) => ({
    sessionId: await context.sessions.revokeOwn(context, input.id),
  }),
}

async function changed({ actor, policyViews }: Context, { version, ...setting }: Changed) {
  return { policy: await policyViews.changed(actor, setting), version }
}
