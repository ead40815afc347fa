import { deriveUuid, timeOfUuid } from '@berth/platform/ids'

/**
 * Why a ledger transaction exists. `at`, its time and so its partition, is a pure function of the
 * cause: a retry, however late, derives the same id and meets what its first attempt posted.
 */
export type Cause = { readonly id: string; readonly at: Date; readonly text: string }

/** Before it no organization was made: an id that says otherwise carries no real time. */
const FIRST_DAY = new Date('2026-01-01T00:00:00Z')

export function starterCreditCause(organizationId: string): Cause {
  const made = timeOfUuid(organizationId)
  return cause(made < FIRST_DAY ? FIRST_DAY : made, `starter-credit:${organizationId}`)
}

/** One window of use: an allocation's meter has one window from each start. */
export function usageCause(allocationId: string, windowStart: Date): Cause {
  return cause(windowStart, `usage:${allocationId}:${windowStart.toISOString()}`)
}

/** A transaction is reversed once, whole or in part. */
export function reversalCause(transactionId: string): Cause {
  return cause(timeOfUuid(transactionId), `reversal:${transactionId}`)
}

export type Meter = 'GPU' | 'GPU_REVERSAL'

export function usageRecordId(meter: Meter, allocationId: string, windowStart: Date): string {
  return deriveUuid(windowStart, `${meter}:${allocationId}:${windowStart.toISOString()}`)
}

/** One run of an allocation; the first is 1. */
export type Run = { readonly allocationId: string; readonly run: number }

/** A run has one hold, for ever. */
export function holdId({ allocationId, run }: Run): string {
  return deriveUuid(timeOfUuid(allocationId), `hold:${allocationId}:${run}`)
}

function cause(at: Date, text: string): Cause {
  return { id: deriveUuid(at, text), at, text }
}
