import { type Actor, requireOrganization } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Limiter } from '@berth/platform/limiter'
import type { PolicyClient } from '@berth/platform/policy-client'
import { z } from 'zod'

/**
 * Counts one more terminal of a person.
 *
 * @throws {DomainError} RATE_LIMITED with `retryAfterSeconds`; UNAVAILABLE when it cannot be known
 */
export type TerminalRate = (actor: Actor) => Promise<void>

const Rate = z.object({ perMinute: z.number().nonnegative(), burst: z.int().nonnegative() })

/** By the policy `ratelimit.terminal`, as it holds for the person. */
export function createTerminalRate({
  limiter,
  policy,
}: {
  limiter: Pick<Limiter, 'take'>
  policy: Pick<PolicyClient, 'value'>
}): TerminalRate {
  return async (actor) => {
    const organizationId = requireOrganization(actor)
    const userId = actor.subject
    const value = await policy.value('ratelimit.terminal', { organizationId, userId })
    if (value === undefined) return
    const of = { class: 'terminal', subject: `user:${userId}` } as const
    const { allowed, retryAfterSeconds } = await limiter.take(of, Rate.parse(value))
    if (allowed) return
    const wait = Number.isFinite(retryAfterSeconds) ? Math.ceil(retryAfterSeconds) : 3_600
    throw new DomainError('RATE_LIMITED', `Too many terminals: try again in ${wait} s`, {
      retryAfterSeconds: wait,
    })
  }
}
