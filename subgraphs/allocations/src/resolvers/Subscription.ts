import type { AllocationUpdateResolvers, SubscriptionResolvers } from '../generated/resolvers.ts'
import { followAllocations, type PositionedUpdate } from '../service/follow.ts'

export const Subscription: SubscriptionResolvers = {
  allocationUpdated: {
    subscribe: (_root, args, { ports, actor, startsAfter }) =>
      followAllocations(ports, actor, args, startsAfter),
    resolve: (update: PositionedUpdate) => update,
  },
}

export const AllocationUpdate: AllocationUpdateResolvers = {
  // As it is now, not as it was at the event.
  allocation: async ({ allocationId }, _args, { entities }) => {
    const allocation = await entities.allocation(allocationId)
    if (!allocation) throw new Error(`${allocationId} of the stream is gone`)
    return allocation
  },
}
