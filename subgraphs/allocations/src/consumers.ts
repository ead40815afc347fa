import { onEvent } from '@berth/platform/consumer'
import type { Envelope } from '@berth/platform/contract'
import type { Sql } from '@berth/platform/database'
import { uuidToId } from '@berth/platform/ids'
import { allocationStates } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import { organizationSuspended } from '@berth/schema/events/policy'
import { isLive } from './domain/machine.ts'
import type { Ports } from './service/ports.ts'
import { releaseAll } from './store/allocations.ts'

const LIVE = allocationStates.filter(isLive)

/** What this service does when others tell of something. */
export function consumersOf({ clock }: Pick<Ports, 'clock'>) {
  return {
    // The credit ran out: all that the organization has stops costing money, and goes.
    billing: [onEvent(balanceDepleted, (event, sql) => releaseAllOf(event, sql, 'NO_BALANCE'))],
    // Nobody can act for it to give anything back.
    policy: [onEvent(organizationSuspended, (event, sql) => releaseAllOf(event, sql, 'ADMIN'))],
  }

  async function releaseAllOf(
    event: Omit<Envelope, 'data'>,
    sql: Sql,
    reason: 'NO_BALANCE' | 'ADMIN',
  ): Promise<void> {
    if (event.organizationId === null) return
    await releaseAll(sql, uuidToId('org', event.organizationId), LIVE, reason, {
      now: clock.now(),
      cause: {
        // What follows from it can be found by it, also when nobody asked for it.
        correlationId: event.correlationId ?? event.id,
        causationId: event.id,
        traceparent: event.traceparent,
      },
    })
  }
}
