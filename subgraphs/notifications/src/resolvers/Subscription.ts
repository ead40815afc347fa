import type { SubscriptionResolvers } from '../generated/resolvers.ts'
import type { InboxEvent } from '../model.ts'

export const Subscription: SubscriptionResolvers = {
  inbox: {
    subscribe: (_root, { after }, { actor, inbox, startsAfter }) =>
      inbox.follow(actor, after ?? null, startsAfter),
    resolve: (event: InboxEvent) => event,
  },
}
