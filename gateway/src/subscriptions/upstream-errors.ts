import { DomainError, ERROR_CODES, ForeignError, isErrorCode } from '@berth/platform/errors'
import type { GraphQLFormattedError } from 'graphql'
import { knownErrors } from '../federation/answers.ts'

/** Why it cannot be authorized for the moment: nobody who waits for it is known well enough. */
export const IN_DOUBT = new DomainError('UNAVAILABLE', 'It is in doubt who asks')

export function notAnswering(cause?: unknown): DomainError {
  return new DomainError('UPSTREAM_UNAVAILABLE', 'The stream’s owner does not answer', { cause })
}

/** The owner refused the subscription, or ended it with these errors. */
export function ownersErrors(
  service: string,
  errors: readonly GraphQLFormattedError[],
): AggregateError | Error {
  const known = knownErrors(service, errors)
  return known.length === 1 && known[0] ? known[0] : new AggregateError(known)
}

/**
 * Whether the owner refuses an event to whoever asks, and not a part of it. It will refuse the next
 * ones, too, and their cursors with them: a stream that went on would have a gap that nobody sees.
 */
export function isRefusal(error: GraphQLFormattedError): boolean {
  const { code } = (error instanceof ForeignError ? error.fields : error.extensions) ?? {}
  if (code !== 'FORBIDDEN' && code !== 'UNAUTHENTICATED') return false
  return error.path === undefined || error.path.length <= 1
}

/** Whether what this gateway asks for itself may be had later. */
export function isPassing(error: unknown): boolean {
  return error instanceof DomainError && ERROR_CODES[error.code].retryable
}

/** The same of an error of the owner's. */
export function mayPass({ extensions }: GraphQLFormattedError): boolean {
  const { code } = extensions ?? {}
  return isErrorCode(code) && ERROR_CODES[code].retryable
}
