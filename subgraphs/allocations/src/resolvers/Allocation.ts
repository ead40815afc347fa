import { pageArguments } from '@berth/platform/connection'
import { allowedActions } from '../domain/machine.ts'
import type { AllocationEventResolvers, AllocationResolvers } from '../generated/resolvers.ts'

export const Allocation: AllocationResolvers = {
  __resolveReference: ({ id }, { entities }) => entities.allocation(id),
  allowedActions: ({ state }) => allowedActions(state),
  gpuModel: ({ gpuModel }) => ({ code: gpuModel }),
  region: ({ region }) => (region === null ? null : { code: region }),
  // Once it ends, inventory may give them to others at any moment.
  slots: ({ slots, endedAt }) => (endedAt ? [] : slots.map(({ slotId }) => ({ id: slotId }))),
  ssh: ({ state, login }) => (state === 'RUNNING' ? login : null),
  events: (allocation, args, { entities }) =>
    entities.events(allocation, pageArguments(args).first).then((events) => [...events]),
  createdBy: ({ createdBy }) => ({ id: createdBy }),
}

export const AllocationEvent: AllocationEventResolvers = {
  __resolveReference: ({ id }, { entities }) => entities.event(id),
}
