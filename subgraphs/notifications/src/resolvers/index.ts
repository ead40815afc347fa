import { Mutation } from './Mutation.ts'
import { Notification } from './Notification.ts'
import { Query } from './Query.ts'
import { Subscription } from './Subscription.ts'

export const resolvers = { Mutation, Notification, Query, Subscription }
