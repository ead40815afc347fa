import { type EventHandler, onEvent } from '@berth/platform/consumer'
import type { EventOf } from '@berth/platform/contract'
import { type AllocationState, allocationChanged } from '@berth/schema/events/allocations'
import { organizationCreated } from '@berth/schema/events/policy'
import type { Credit } from './service/credit.ts'
import type { AllocationFacts, Metering } from './service/metering.ts'

/** An allocation in one of these is billed no more. */
const OVER: ReadonlySet<AllocationState> = new Set([
  'STOPPING',
  'STOPPED',
  'RELEASING',
  'RELEASED',
  'FAILED',
])

export function allocationHandlers(metering: Metering): EventHandler[] {
  const states = ['RUNNING', ...OVER] as AllocationState[]
  return states.map((state) =>
    onEvent(allocationChanged[state], (event, sql) => metering.note(sql, factsOf(event))),
  )
}

export function policyHandlers(credit: Credit): EventHandler[] {
  return [
    onEvent(organizationCreated, async (event, sql) => {
      if (event.organizationId === null) throw new Error('an organization’s event names none')
      await credit.welcome(sql, event.organizationId)
    }),
  ]
}

export function factsOf(
  event: EventOf<(typeof allocationChanged)[AllocationState]>,
): AllocationFacts {
  const { aggregateId, organizationId, occurredAt, data } = event
  if (organizationId === null) throw new Error('an allocation’s event names no organization')
  // An end that carries no time of its own is the event's.
  const end = data.endedAt ?? (OVER.has(data.state) ? occurredAt : null)
  return {
    allocationId: aggregateId,
    run: data.run,
    organizationId,
    gpuModel: data.gpuModel,
    gpuCount: data.gpuCount,
    startedAt: data.startedAt === null ? null : new Date(data.startedAt),
    endedAt: end === null ? null : new Date(end),
  }
}
