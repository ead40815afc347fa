import { onEvent } from '@berth/platform/consumer'
import { uuidToId } from '@berth/platform/ids'
import { allocationStates } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import { isLive } from './domain/machine.ts'
import type { Ports } from './service/ports.ts'
import { releaseAll } from './store/allocations.ts'

const LIVE = allocationStates.filter(isLive)

/** What this service does when others tell of something. */
export function consumersOf({ clock }: Pick<Ports, 'clock'>) {
  return {
    billing: [
      // The credit ran out: all that the organization has stops costing money, and goes.
      onEvent(balanceDepleted, async (event, sql) => {
        if (event.organizationId === null) return
        await releaseAll(sql, uuidToId('org', event.organizationId), LIVE, 'NO_BALANCE', {
          now: clock.now(),
          cause: {
            // What follows from it can be found by it, also when nobody asked for it.
            correlationId: event.correlationId ?? event.id,
            causationId: event.id,
            traceparent: event.traceparent,
          },
        })
      }),
    ],
  }
}
