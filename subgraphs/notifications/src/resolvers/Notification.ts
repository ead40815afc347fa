import { parseId } from '@berth/platform/ids'
import { titleOf } from '../domain/notification.ts'
import type { NotificationResolvers } from '../generated/resolvers.ts'

export const Notification: NotificationResolvers = {
  __resolveReference: ({ id }, { notification }) => notification(parseId('ntf', id)),
  sequence: ({ sequence }) => Number(sequence),
  title: titleOf,
  allocation: ({ allocationId }) => allocationId && { __typename: 'Allocation', id: allocationId },
}
