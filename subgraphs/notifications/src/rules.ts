import { allow, mayDo, type Rules } from '@berth/platform/shield'

const readsInbox = mayDo('inbox:read')

/** Who may call what; whatever is not named here is denied. The inbox itself is always one's own. */
export const rules: Rules = {
  Query: { inbox: readsInbox, inboxCounts: readsInbox },
  Mutation: { inboxMark: readsInbox },
  Subscription: { inbox: readsInbox },
  Notification: allow,
  NotificationConnection: allow,
  NotificationEdge: allow,
  InboxCounts: allow,
  InboxEvent: allow,
  InboxMarkPayload: allow,
  Allocation: allow,
  PageInfo: allow,
}
