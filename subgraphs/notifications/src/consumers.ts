import type { EventHandler } from '@berth/platform/consumer'
import { onEvent } from '@berth/platform/consumer'
import type { EventContract, EventOf } from '@berth/platform/contract'
import type { Sql } from '@berth/platform/database'
import { fault } from '@berth/platform/fault-points'
import type { Hints } from '@berth/platform/pubsub'
import { allocationChanged } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import { membershipAdded } from '@berth/schema/events/policy'
import { userChannel } from './channels.ts'
import type { NotificationKind } from './domain/notification.ts'
import { appendNotifications, type Delivered } from './store/deliver.ts'
import { putRecipient, recipientsOf } from './store/recipients.ts'

/** What is done on whose events, by the publishing domain. */
export function createHandlers(hints: Pick<Hints, 'publish'>): Record<string, EventHandler[]> {
  const toCreator = (
    contract: (typeof allocationChanged)[keyof typeof allocationChanged],
    kind: NotificationKind,
  ) =>
    onNews(hints, contract, (event, sql) =>
      appendNotifications(
        sql,
        { ...causeOf(event), kind, reason: event.data.reason, allocationId: event.aggregateId },
        [event.data.createdBy],
      ),
    )
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
      onEvent(membershipAdded, async ({ organizationId, data }, sql) => {
        if (organizationId) await putRecipient(sql, organizationId, data.userId, data.role)
      }),
    ],
  }
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
      const delivered = await database.sqlTransaction(async (sql) =>
        (await once(sql)) ? deliver(event as EventOf<C>, sql) : null,
      )
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
