import { type Actor, subjectOf } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Limiter, Rate } from '@berth/platform/limiter'
import type { Log } from '@berth/platform/log'
import type { PolicyClient } from '@berth/platform/policy-client'
import { z } from 'zod'

export type OperationClass = 'query' | 'mutation' | 'subscription' | 'auth'

/** Who asks, and from where; the address counts for those who are nobody yet. */
export type Caller = { readonly actor: Actor; readonly clientIp: string }

export type Rates = {
  /** @throws {DomainError} RATE_LIMITED with `retryAfterSeconds` */
  take(of: OperationClass, caller: Caller): Promise<void>
}

/** What is written under `ratelimit.<class>`. */
const RatePolicy = z.object({ perMinute: z.number().nonnegative(), burst: z.int().nonnegative() })

/** As many as this, working at their limit, are an organization's. */
const PEOPLE = 10

/** What holds while policy has said nothing, and when it cannot be asked. */
const DEFAULTS: Record<OperationClass, Rate> = {
  query: { perMinute: 1_200, burst: 200 },
  mutation: { perMinute: 240, burst: 60 },
  subscription: { perMinute: 240, burst: 60 },
  auth: { perMinute: 30, burst: 10 },
}

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
  return {
    async take(of, { actor, clientIp }) {
      const rate = await rateOf(of, actor.organizationId)
      const person = subjectOf(actor)
      await spend(of, person ? `user:${person}` : `ip:${clientIp}`, rate)
      if (actor.organizationId) {
        const { perMinute, burst } = rate
        const forAll = { perMinute: perMinute * PEOPLE, burst: burst * PEOPLE }
        await spend(of, `org:${actor.organizationId}`, forAll)
      }
    },
  }

  async function spend(of: OperationClass, subject: string, rate: Rate): Promise<void> {
    const { allowed, retryAfterSeconds } = await limiter.take({ class: of, subject }, rate)
    if (allowed) return
    // A rate of nothing at all has no end to wait for: an hour is as good an answer as any.
    const wait = Number.isFinite(retryAfterSeconds) ? Math.ceil(retryAfterSeconds) : 3_600
    throw new DomainError('RATE_LIMITED', `Too many requests: try again in ${wait} s`, {
      retryAfterSeconds: wait,
    })
  }

  async function rateOf(of: OperationClass, organizationId: string | null): Promise<Rate> {
    const key = `ratelimit.${of}`
    const value = await policy.value(key, { organizationId }).catch((err: unknown) => {
      log.debug({ err, policy: key }, 'no rate from policy: the default holds')
      return undefined
    })
    if (value === undefined) return DEFAULTS[of]
    const parsed = RatePolicy.safeParse(value)
    if (parsed.success) return parsed.data
    log.error({ policy: key }, 'the rate in policy is malformed: the default holds')
    return DEFAULTS[of]
  }
}
