import { within } from './abort.ts'
import type { Clock } from './clock.ts'
import { DomainError } from './errors.ts'
import type { Log } from './log.ts'

const TIMEOUT_MS = 1_000
const RETRY_MS = 1_000

/** @throws {DomainError} UNAVAILABLE for whatever reason there is no answer */
export type PolicyAsk = <T>(ask: (timeoutMs: number) => Promise<T>) => Promise<T>

/**
 * Asks policy. While it answers nobody, one a second asks and the others are told so at once: they
 * have something to fall back on, or must not wait in vain.
 *
 * @param isHeard whether policy was heard of lately: then a failure is of one question alone
 */
export function createPolicyAsk({
  isHeard,
  clock,
  log,
}: {
  isHeard: () => boolean
  clock: Clock
  log: Log
}): PolicyAsk {
  /** Null while it answers. */
  let retryAt: number | null = null

  return async (ask) => {
    if (retryAt !== null && !isHeard()) {
      const now = clock.now().getTime()
      if (now < retryAt) throw new DomainError('UNAVAILABLE', UNREADABLE)
      retryAt = now + RETRY_MS
    }
    try {
      const answer = await within(TIMEOUT_MS, ask(TIMEOUT_MS), `no answer within ${TIMEOUT_MS} ms`)
      retryAt = null
      return answer
    } catch (cause) {
      retryAt = clock.now().getTime() + RETRY_MS
      log.warn({ err: cause }, 'policy could not be asked')
      throw new DomainError('UNAVAILABLE', UNREADABLE, { cause })
    }
  }
}

const UNREADABLE = 'The policies cannot be read now: try again in a few seconds'
