import { type Actor, subjectOf } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Limiter, Rate } from '@berth/platform/limiter'
import type { Log } from '@berth/platform/log'
import type { PolicyClient, PolicyScope } from '@berth/platform/policy-client'
import { z } from 'zod'
import { partyOf } from './party.ts'

export type OperationClass = 'query' | 'mutation' | 'subscription' | 'auth'

/** Who asks, and from where; the address counts for those who are nobody yet. */
export type Caller = { readonly actor: Actor; readonly clientIp: string }

export type Rates = {
  /**
   * @param units counts as so many requests: 1 unless said
   * @throws {DomainError} RATE_LIMITED with `retryAfterSeconds`
   */
  take(of: OperationClass, caller: Caller, units?: number): Promise<void>
}

/** For gateways where it is for whoever stands before them to say how often one may ask. */
export const NO_RATES: Rates = Object.freeze({ take: async () => undefined })

/** What is written under `ratelimit.<class>`. */
const RatePolicy = z.object({ perMinute: z.number().nonnegative(), burst: z.int().nonnegative() })

/** As many as this, working at their limit, are an organization's. */
const PEOPLE = 10

/** Counts operations of each class against the rates that policy sets. */
export function createRates({
  limiter,
  policy,
  log,
}: {
  limiter: Limiter
  policy: Pick<PolicyClient, 'value'>
  log: Log
}): Rates {
  const parsed = new WeakMap<object, RateFor>()
  return {
    async take(of, { actor, clientIp }, units) {
      const { organizationId } = actor
      const rate = await rateOf(of, { organizationId }, DEFAULTS[of])
      const userId = organizationId && subjectOf(actor)
      const its = userId ? await rateOf(of, { organizationId, userId }, rate) : rate
      const own = { subject: partyOf(actor, clientIp), rate: its.own }
      const subjects = organizationId
        ? [own, { subject: `org:${organizationId}`, rate: rate.ofAll }]
        : [own]
      const { allowed, retryAfterSeconds } = await limiter.takeAll(of, subjects, units)
      if (allowed) return
      // A rate of nothing at all has no end to wait for: an hour is as good an answer as any.
      const wait = Number.isFinite(retryAfterSeconds) ? Math.ceil(retryAfterSeconds) : 3_600
      throw new DomainError('RATE_LIMITED', `Too many requests: try again in ${wait} s`, {
        retryAfterSeconds: wait,
      })
    },
  }

  /** @param otherwise what holds while policy has said nothing */
  async function rateOf(
    of: OperationClass,
    scope: PolicyScope,
    otherwise: RateFor,
  ): Promise<RateFor> {
    const key = `ratelimit.${of}`
    let value: unknown
    try {
      value = await policy.value(key, scope)
    } catch (err) {
      log.debug({ err, policy: key }, 'no rate from policy: what is known holds')
    }
    if (value === undefined) return otherwise
    // The client gives the same object for as long as it has no other.
    if (typeof value !== 'object' || value === null) return parse(value, key, otherwise)
    const known = parsed.get(value) ?? parse(value, key, otherwise)
    parsed.set(value, known)
    return known
  }

  function parse(value: unknown, key: string, otherwise: RateFor): RateFor {
    const { success, data } = RatePolicy.safeParse(value)
    if (success) return withAll(data)
    log.error({ policy: key }, 'the rate in policy is malformed: what is known holds')
    return otherwise
  }
}

/** Of one, and of all of an organization together. */
type RateFor = { readonly own: Rate; readonly ofAll: Rate }

function withAll(own: Rate): RateFor {
  const { perMinute, burst } = own
  return { own, ofAll: { perMinute: perMinute * PEOPLE, burst: burst * PEOPLE } }
}

/** What holds while policy has said nothing, and when it cannot be asked. */
const DEFAULTS: Record<OperationClass, RateFor> = {
  query: withAll({ perMinute: 1_200, burst: 200 }),
  mutation: withAll({ perMinute: 240, burst: 60 }),
  subscription: withAll({ perMinute: 240, burst: 60 }),
  auth: withAll({ perMinute: 30, burst: 10 }),
}
