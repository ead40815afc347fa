import type { PolicyDecisionResolvers } from '../generated/resolvers.ts'
import { decisionId } from '../service/policy-decisions.ts'

export const PolicyDecision: PolicyDecisionResolvers = {
  id: decisionId,
}
