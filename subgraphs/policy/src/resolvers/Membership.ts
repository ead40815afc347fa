import { subjectOf } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { MembershipResolvers } from '../generated/resolvers.ts'

export const Membership: MembershipResolvers = {
  user: async ({ userId }, _args, { actor, directory, person }) => {
    // Of an organization that was made a moment ago nobody acts yet: but one sees oneself.
    const isOwn = userId === subjectOf(actor)
    const user = isOwn ? await directory.self(actor) : await person(userId)
    if (!user) throw new DomainError('NOT_FOUND', 'They have left: read the members again')
    return user
  },
}
