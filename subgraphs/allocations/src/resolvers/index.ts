import type { Resolvers } from '../generated/resolvers.ts'
import { Allocation, AllocationEvent } from './Allocation.ts'
import { Mutation } from './Mutation.ts'
import { Query } from './Query.ts'
import { AllocationUpdate, Subscription } from './Subscription.ts'
import { TerminalSession } from './TerminalSession.ts'

export const resolvers = {
  Query,
  Mutation,
  Subscription,
  Allocation,
  AllocationEvent,
  AllocationUpdate,
  TerminalSession,
} satisfies Resolvers
