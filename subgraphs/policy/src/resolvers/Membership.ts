import type { MembershipResolvers } from '../generated/resolvers.ts'

export const Membership: MembershipResolvers = {
  user: async ({ userId }, _args, { person }) => {
    const user = await person(userId)
    if (!user) throw new Error('a member of the actor’s organization can be seen')
    return user
  },
}
