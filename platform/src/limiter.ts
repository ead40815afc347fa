import type { Redis } from 'ioredis'
import { within } from './abort.ts'
import { type Clock, systemClock } from './clock.ts'
import { DomainError } from './errors.ts'
import {
  CLOSED,
  type Decision,
  decisionOf,
  GCRA_SCRIPT,
  gcra,
  intervalMicros,
  isClosed,
  type Rate,
} from './gcra.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

export type { Decision, Rate } from './gcra.ts'

/** What is limited apart: each class has its own budget. */
export type RateClass = 'query' | 'mutation' | 'subscription' | 'auth' | 'payment' | 'terminal'

export type Limiter = {
  /**
   * Counts one more of `subject` (a user, key, organization or address, said in its text).
   *
   * @throws {DomainError} UNAVAILABLE in classes that fail closed, while Redis does not answer
   */
  take(of: { class: RateClass; subject: string }, rate: Rate): Promise<Decision>
}

/** Better refused than unlimited: guessing, money and shells. */
const FAIL_CLOSED = new Set<RateClass>(['auth', 'payment', 'terminal'])
const REDIS_TIMEOUT_MS = 250
const MAX_LOCAL_SUBJECTS = 50_000

/**
 * Rate limits shared by every replica through Redis. While Redis is away each replica limits on its
 * own, and `berth_ratelimit_fail_open_total` counts what was let through or refused that way.
 *
 * @param clock of the local limiter; the shared one goes by Redis's
 */
export function createLimiter({
  redis,
  metrics,
  log,
  clock = systemClock,
}: {
  redis: Redis
  metrics: Metrics
  log: Log
  clock?: Clock
}): Limiter {
  const failedOpen = metrics.counter(
    'berth_ratelimit_fail_open_total',
    'Decisions made without Redis',
    ['class'],
  )
  const failedClosed = metrics.counter(
    'berth_ratelimit_fail_closed_total',
    'Requests refused because Redis did not answer',
    ['class'],
  )
  const takeLocally = createLocalLimiter(clock)
  let isDown = false

  async function takeShared(key: string, rate: Rate): Promise<Decision> {
    if (redis.status !== 'ready') throw new Error(`Redis is ${redis.status}`)
    const spare = await within(
      REDIS_TIMEOUT_MS,
      redis.eval(GCRA_SCRIPT, 1, key, intervalMicros(rate), rate.burst),
      'Redis is slow',
    )
    return decisionOf(Number(spare), rate)
  }

  return {
    async take({ class: rateClass, subject }, rate) {
      if (isClosed(rate)) return CLOSED
      const key = `rate:${rateClass}:${subject}`
      try {
        const decision = await takeShared(key, rate)
        isDown = false
        return decision
      } catch (cause) {
        if (!isDown) log.error({ err: cause }, 'rate limits go on without Redis')
        isDown = true
        if (!FAIL_CLOSED.has(rateClass)) {
          failedOpen.inc({ class: rateClass })
          return takeLocally(key, rate)
        }
        failedClosed.inc({ class: rateClass })
        throw new DomainError('UNAVAILABLE', 'This cannot be checked now: try again shortly', {
          cause,
          retryAfterSeconds: 1,
        })
      }
    },
  }
}

/** Bounded: the subject that was longest unheard of is forgotten. */
function createLocalLimiter(clock: Clock) {
  const arrivals = new Map<string, number>()
  return (key: string, rate: Rate): Decision => {
    const { decision, arrivalAt } = gcra(rate, clock.now().getTime() * 1000, arrivals.get(key))
    if (arrivalAt === undefined) return decision
    arrivals.delete(key)
    arrivals.set(key, arrivalAt)
    if (arrivals.size > MAX_LOCAL_SUBJECTS) arrivals.delete(arrivals.keys().next().value ?? key)
    return decision
  }
}
