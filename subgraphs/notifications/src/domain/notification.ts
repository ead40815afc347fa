import type { Id } from '@berth/platform/ids'
import type { AllocationReason } from '@berth/schema/events/allocations'

export const notificationKinds = [
  'ALLOCATION_RUNNING',
  'ALLOCATION_RELEASED',
  'ALLOCATION_FAILED',
  'BALANCE_DEPLETED',
] as const
export type NotificationKind = (typeof notificationKinds)[number]

/** In the order in which a notification moves: forward only. */
export const inboxStatuses = ['UNSEEN', 'SEEN', 'READ', 'DISMISSED'] as const
export type InboxStatus = (typeof inboxStatuses)[number]

/** Classes of how long a notification is kept, with the days. */
export const retentionDays = { STANDARD: 90, LONG: 400 } as const
export type Retention = keyof typeof retentionDays

/** What concerns money is kept over a yearly account. */
export function retentionOf(kind: NotificationKind): Retention {
  return kind === 'BALANCE_DEPLETED' ? 'LONG' : 'STANDARD'
}

const because: Record<AllocationReason, string | null> = {
  USER: null,
  NO_CAPACITY: 'no GPU was free',
  QUOTA: 'the quota is used up',
  POLICY: 'a policy forbids it',
  NO_BALANCE: 'the credit ran out',
  PREEMPTED: 'its GPUs were needed elsewhere',
  NODE_LOST: 'its node was lost',
  PROVISION_TIMEOUT: 'its node was not ready in time',
  IMAGE_ERROR: 'its image could not be used',
  IDLE: 'it was idle',
  MAX_DURATION: 'its time was over',
  ADMIN: 'an administrator ended it',
}

/**
 * One line for people, made when it is read: what is kept is a kind, a reason and ids, so that no
 * inbox holds personal data or yesterday's words.
 */
export function titleOf({
  kind,
  reason,
  allocationId,
}: {
  kind: NotificationKind
  reason: AllocationReason | null
  allocationId: Id<'alc'> | null
}): string {
  const allocation = allocationId ? `Allocation ${allocationId}` : 'An allocation'
  const cause = reason && because[reason] ? `: ${because[reason]}` : ''
  switch (kind) {
    case 'ALLOCATION_RUNNING':
      return `${allocation} runs`
    case 'ALLOCATION_RELEASED':
      return `${allocation} was released${cause}`
    case 'ALLOCATION_FAILED':
      return `${allocation} failed${cause}`
    case 'BALANCE_DEPLETED':
      return 'Your organization’s credit ran out: add credit to go on'
  }
}
