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
  unitsWithin,
} from './gcra.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

export type { Decision, Rate } from './gcra.ts'

/** What is limited apart: each class has its own budget. */
export type RateClass =
  | 'query'
  | 'mutation'
  | 'subscription'
  | 'auth'
  | 'payment'
  | 'terminal'
  | 'break-glass'

export type Limiter = {
  /**
   * Counts one more of `subject` (a user, key, organization or address, said in its text).
   *
   * @throws {DomainError} UNAVAILABLE in classes that fail closed, while Redis does not answer
   */
  take(of: { class: RateClass; subject: string }, rate: Rate): Promise<Decision>
  /**
   * The same for several subjects, in their order and in one round trip: the first that is refused
   * decides, and those after it are not counted.
   *
   * @param units counts as so many; beyond a rate's burst, as its burst
   */
  takeAll(of: RateClass, subjects: readonly Limited[], units?: number): Promise<Decision>
}

export type Limited = { readonly subject: string; readonly rate: Rate }

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

  async function takeShared(keys: readonly string[], subjects: readonly Limited[], units: number) {
    if (redis.status !== 'ready') throw new Error(`Redis is ${redis.status}`)
    const rates = subjects.flatMap(({ rate }) => [
      intervalMicros(rate),
      rate.burst,
      unitsWithin(rate, units),
    ])
    const spares = (await within(
      REDIS_TIMEOUT_MS,
      redis.eval(GCRA_SCRIPT, keys.length, ...keys, ...rates),
      'Redis is slow',
    )) as unknown[]
    const last = subjects[spares.length - 1]
    if (!last) throw new Error('Redis counted nothing')
    return decisionOf(Number(spares.at(-1)), last.rate)
  }

  async function takeAll(
    rateClass: RateClass,
    subjects: readonly Limited[],
    units = 1,
  ): Promise<Decision> {
    // One that lets nothing through ends it, and is not asked for.
    const closed = subjects.findIndex(({ rate }) => isClosed(rate))
    const asked = closed < 0 ? subjects : subjects.slice(0, closed)
    if (asked.length === 0) return CLOSED
    const keys = asked.map(({ subject }) => `rate:${rateClass}:${subject}`)
    let decision: Decision
    try {
      decision = await takeShared(keys, asked, units)
      isDown = false
    } catch (cause) {
      if (!isDown) log.error({ err: cause }, 'rate limits go on without Redis')
      isDown = true
      if (FAIL_CLOSED.has(rateClass)) {
        failedClosed.inc({ class: rateClass })
        throw new DomainError('UNAVAILABLE', 'This cannot be checked now: try again shortly', {
          cause,
          retryAfterSeconds: 1,
        })
      }
      failedOpen.inc({ class: rateClass })
      decision = takeAllLocally(keys, asked, units)
    }
    return decision.allowed && closed >= 0 ? CLOSED : decision
  }

  function takeAllLocally(
    keys: readonly string[],
    subjects: readonly Limited[],
    units: number,
  ): Decision {
    let decision = CLOSED
    for (const [i, { rate }] of subjects.entries()) {
      decision = takeLocally(keys[i] as string, rate, units)
      if (!decision.allowed) break
    }
    return decision
  }

  return {
    take: ({ class: rateClass, subject }, rate) => takeAll(rateClass, [{ subject, rate }]),
    takeAll,
  }
}

/** Bounded: the subject that was longest unheard of is forgotten. */
function createLocalLimiter(clock: Clock) {
  const arrivals = new Map<string, number>()
  return (key: string, rate: Rate, units: number): Decision => {
    const now = clock.now().getTime() * 1000
    const { decision, arrivalAt } = gcra(rate, now, arrivals.get(key), units)
    if (arrivalAt === undefined) return decision
    arrivals.delete(key)
    arrivals.set(key, arrivalAt)
    if (arrivals.size > MAX_LOCAL_SUBJECTS) arrivals.delete(arrivals.keys().next().value ?? key)
    return decision
  }
}
