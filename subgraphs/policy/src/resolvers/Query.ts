import type { QueryResolvers } from '../generated/resolvers.ts'

export const Query: QueryResolvers = {
  viewer: (_root, _args, { actor }) => (actor.kind === 'anonymous' ? null : actor),
  organization: (_root, _args, { actor, directory }) => directory.ownOrganization(actor),
  apiKeys: (_root, args, { actor, apiKeys }) => apiKeys.list(actor, args),
  auditEvents: (_root, args, { actor, auditEvents }) => auditEvents.list(actor, args),
  auditExport: (_root, { input }, { actor, auditExport }) => auditExport.page(actor, input ?? {}),
  deniedSigningKeys: (_root, _args, { actor, signingKeys }) => signingKeys.denied(actor),
  platformAuditEvents: (_root, args, { actor, auditEvents }) => auditEvents.listAny(actor, args),
  policies: (_root, args, { actor, policyViews }) => policyViews.list(actor, args),
  policy: (_root, { key, ...whose }, { actor, policyViews }) => policyViews.one(actor, key, whose),
  policyDecisions: (_root, args, { actor, policyDecisions }) => policyDecisions.list(actor, args),
  platformPolicyDecisions: (_root, args, { policyDecisions }) => policyDecisions.listAny(args),
  policyRulesDryRun: (_root, { input }, { actor, rulesDryRun }) => rulesDryRun.run(actor, input),
  sessions: (_root, _args, { actor, sessions }) => sessions.own(actor),
}
