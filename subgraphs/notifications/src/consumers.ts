import type { EventHandler } from '@berth/platform/consumer'
import { onEvent } from '@berth/platform/consumer'
import type { EventContract, EventOf } from '@berth/platform/contract'
import type { Sql } from '@berth/platform/database'
import { fault } from '@berth/platform/fault-points'
import type { Id } from '@berth/platform/ids'
import type { Hints } from '@berth/platform/pubsub'
import { allocationChanged } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import {
  membershipAdded,
  membershipChanged,
  membershipRemoved,
  type OrganizationRole,
} from '@berth/schema/events/policy'
import { userChannel } from './channels.ts'
import type { NotificationKind } from './domain/notification.ts'
import { appendNotifications, type Delivered } from './store/deliver.ts'
import { setHidden } from './store/hide.ts'
import { hasLeft, isMember, lockMembers, noteMembership, recipientsOf } from './store/recipients.ts'

/** What is done on whose events, by the publishing domain. */
export function createHandlers(hints: Pick<Hints, 'publish'>): Record<string, EventHandler[]> {
  const toCreator = (
    contract: (typeof allocationChanged)[keyof typeof allocationChanged],
    kind: NotificationKind,
  ) =>
    onNews(hints, contract, async (event, sql) => {
      const { organizationId, aggregateId, data } = event
      if (organizationId && (await hasLeft(sql, organizationId, data.createdBy))) return []
      const news = { ...causeOf(event), kind, reason: data.reason, allocationId: aggregateId }
      return appendNotifications(sql, news, [data.createdBy])
    })
  return {
    allocations: [
      toCreator(allocationChanged.RUNNING, 'ALLOCATION_RUNNING'),
      toCreator(allocationChanged.RELEASED, 'ALLOCATION_RELEASED'),
      toCreator(allocationChanged.FAILED, 'ALLOCATION_FAILED'),
    ],
    billing: [
      onNews(hints, balanceDepleted, async (event, sql) => {
        if (event.organizationId === null) return []
        const payers = await recipientsOf(sql, event.organizationId, ['OWNER', 'ADMIN', 'BILLING'])
        const news = { kind: 'BALANCE_DEPLETED', reason: null, allocationId: null } as const
        return appendNotifications(sql, { ...causeOf(event), ...news }, payers)
      }),
    ],
    policy: [
      onEvent(membershipAdded, (event, sql) => follow(sql, event, event.data.role)),
      onEvent(membershipChanged, (event, sql) => follow(sql, event, event.data.role)),
      onEvent(membershipRemoved, (event, sql) => follow(sql, event, null)),
    ],
  }
}

/** What the person was told as a member goes with the membership, and comes back with another one. */
async function follow(
  sql: Sql,
  event: EventOf<EventContract> & { readonly data: { readonly userId: Id<'usr'> } },
  role: OrganizationRole | null,
): Promise<void> {
  const { organizationId, aggregateId: membershipId, aggregateSeq, data } = event
  if (organizationId === null) return
  const { userId } = data
  const sequence = BigInt(aggregateSeq)
  await lockMembers(sql, organizationId, { shared: false })
  await noteMembership(sql, { membershipId, sequence, organizationId, userId, role })
  await setHidden(sql, userId, organizationId, !(await isMember(sql, organizationId, userId)))
}

/** Delivers in the transaction that remembers the event; hints once it has committed. */
function onNews<C extends EventContract>(
  hints: Pick<Hints, 'publish'>,
  contract: C,
  deliver: (event: EventOf<C>, sql: Sql) => Promise<Delivered[]>,
): EventHandler {
  return {
    contract,
    async run(database, event, once) {
      const delivered = await database.sqlTransaction(async (sql) => {
        if (!(await once(sql))) return null
        const { organizationId } = event
        if (organizationId) await lockMembers(sql, organizationId, { shared: true })
        return deliver(event as EventOf<C>, sql)
      })
      await fault('notifications.delivered')
      for (const { userId, sequence } of delivered ?? []) {
        await hints.publish(userChannel(userId), String(sequence))
      }
      return delivered !== null
    },
  }
}

function causeOf({ id, occurredAt, organizationId }: EventOf<EventContract>) {
  return { eventId: id, occurredAt: new Date(occurredAt), organizationId }
}
