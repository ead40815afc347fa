import type { PolicyChangeResolvers } from '../generated/resolvers.ts'

export const PolicyChange: PolicyChangeResolvers = {
  changedBy: ({ changedBy }, _args, { person }) => changedBy && person(changedBy),
}
