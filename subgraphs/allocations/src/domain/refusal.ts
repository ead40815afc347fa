import { DomainError, type ErrorCode } from '@berth/platform/errors'
import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'

/** What refuses a reservation for good, and how the allocation says so. All else is tried again. */
const refusals: Readonly<Partial<Record<ErrorCode, AllocationReason>>> = {
  NO_CAPACITY: 'NO_CAPACITY',
  // Of a model or region that does not exist, no GPU is free.
  NOT_FOUND: 'NO_CAPACITY',
  INSUFFICIENT_CREDIT: 'NO_BALANCE',
  QUOTA_EXCEEDED: 'QUOTA',
  FORBIDDEN: 'POLICY',
  // What cannot be priced or placed as it was asked for never will be.
  BAD_INPUT: 'POLICY',
}

/** Why the allocation fails, or null when the error says nothing for good. */
export function refusalOf(error: unknown): AllocationReason | null {
  return error instanceof DomainError ? (refusals[error.code] ?? null) : null
}

/** Whether it ended because its reservation was refused. */
export function isRefusal({
  state,
  holdId,
  reason,
}: {
  state: AllocationState
  holdId: string | null
  reason: AllocationReason | null
}): boolean {
  return (
    state === 'FAILED' && holdId === null && Object.values(refusals).some((it) => it === reason)
  )
}

/** What whoever asked for an allocation is told when it could not be reserved. */
export function refusalError(reason: AllocationReason | null, allocationId: string): DomainError {
  switch (reason) {
    case 'NO_CAPACITY':
      return new DomainError(
        'NO_CAPACITY',
        'Not enough GPUs of this model are free on one node. Ask for fewer, another model or another region, or try again later with a new Idempotency-Key.',
        { allocationId },
      )
    case 'NO_BALANCE':
      return new DomainError(
        'INSUFFICIENT_CREDIT',
        'The balance does not cover this. Add credit, then ask again with a new Idempotency-Key.',
        { allocationId },
      )
    case 'QUOTA':
      return new DomainError(
        'QUOTA_EXCEEDED',
        'The quota is used up. Release something or ask for more, then ask again with a new Idempotency-Key.',
        { allocationId },
      )
    case 'POLICY':
      return new DomainError(
        'FORBIDDEN',
        'This cannot be rented as it was asked for. Choose a model and a region that `offers` lists, then ask again with a new Idempotency-Key.',
        { allocationId },
      )
    default:
      throw new TypeError(`${reason} is no refusal`)
  }
}
