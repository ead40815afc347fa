import type { SessionResolvers } from '../generated/resolvers.ts'

export const Session: SessionResolvers = {
  isCurrent: ({ id }, _args, { actor }) => actor.credential === id,
}
