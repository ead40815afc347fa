import type { Id } from '@berth/platform/ids'
import type { AllocationReason } from '@berth/schema/events/allocations'
import type { InboxStatus, NotificationKind } from './domain/notification.ts'

export type Notification = {
  readonly id: Id<'ntf'>
  /** Place in the person's inbox: 1, 2, 3, without gaps. */
  readonly sequence: bigint
  readonly kind: NotificationKind
  readonly reason: AllocationReason | null
  readonly allocationId: Id<'alc'> | null
  readonly status: InboxStatus
  readonly occurredAt: Date
  readonly createdAt: Date
}

export type InboxCounts = {
  readonly unseen: number
  readonly unread: number
  readonly version: number
}

export type InboxEvent = {
  /** The notification's sequence. */
  readonly position: bigint
  readonly cursor: string
  readonly notification: Notification
  readonly counts: InboxCounts
}
