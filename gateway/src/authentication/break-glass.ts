import { hash, timingSafeEqual } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import type { HttpHandler, HttpRequest, Routes } from '@berth/platform/http'
import type { Limiter, Rate } from '@berth/platform/limiter'
import type { Metrics } from '@berth/platform/metrics'
import { z } from 'zod'
import { bearerOf } from './bearer.ts'
import type { KeyRefreshes } from './key-refreshes.ts'

/** Of those who know the secret, together; each time every gateway asks the issuer. */
const REFRESHES: Rate = { perMinute: 6, burst: 3 }
/** Of one address. What they do limits nobody who knows the secret: it is for an emergency. */
const GUESSES: Rate = { perMinute: 10, burst: 10 }

const Body = z.strictObject({ reason: z.string().trim().min(1).max(500).optional() })

/**
 * `POST /internal/auth/jwks/refresh`: every gateway fetches the issuer's keys now. For when nobody can
 * sign in, which is why it has a secret of its own, and goes on limiting without Redis.
 *
 * @returns no route without a secret
 */
export function breakGlass({
  secret,
  refreshes,
  limiter,
  metrics,
}: {
  secret: string | undefined
  refreshes: Pick<KeyRefreshes, 'run'>
  limiter: Pick<Limiter, 'take'>
  metrics: Metrics
}): Routes {
  if (secret === undefined) return {}
  const expected = digestOf(secret)
  const uses = metrics.counter(
    'berth_break_glass_total',
    'Refreshes of keys asked for, by outcome',
    ['outcome'],
  )

  const refresh: HttpHandler = async (request, reply) => {
    reply.raw.setHeader('cache-control', 'no-store')
    const outcome = await run(request).catch((error: unknown) => {
      uses.inc({ outcome: error instanceof DomainError ? error.code : 'INTERNAL' })
      throw error
    })
    uses.inc({ outcome: 'refreshed' })
    reply.json(200, outcome)
  }
  return { 'POST /internal/auth/jwks/refresh': refresh }

  async function run(request: HttpRequest) {
    const { log, requestId, clientIp: from } = request
    if (!isSecret(request.headers.authorization)) {
      await take(`guess:${from}`, GUESSES)
      log.warn(
        { security: 'break-glass', from },
        'a refresh of keys was asked for without the secret',
      )
      throw new DomainError('UNAUTHENTICATED', 'The secret is not valid')
    }
    await take('refresh', REFRESHES)
    const { reason = null } = bodyOf(await request.body())
    log.warn({ security: 'break-glass', from, reason }, 'a refresh of keys begins')
    const outcome = await refreshes.run({ reason, requestId })
    log.warn({ security: 'break-glass', from, ...outcome }, 'keys were refreshed')
    return outcome
  }

  /** Of the hashes, which are as long as each other whatever is presented. */
  function isSecret(authorization: string | undefined): boolean {
    return timingSafeEqual(digestOf(bearerOf(authorization) ?? ''), expected)
  }

  async function take(subject: string, rate: Rate): Promise<void> {
    const { allowed, retryAfterSeconds } = await limiter.take(
      { class: 'break-glass', subject },
      rate,
    )
    if (allowed) return
    const wait = Math.ceil(retryAfterSeconds)
    throw new DomainError('RATE_LIMITED', `Too many requests: try again in ${wait} s`, {
      retryAfterSeconds: wait,
    })
  }
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function bodyOf(body: Buffer): z.output<typeof Body> {
  if (body.length === 0) return {}
  try {
    return Body.parse(JSON.parse(body.toString('utf8')))
  } catch (cause) {
    throw new DomainError(
      'BAD_INPUT',
      'The body is empty, or JSON: {"reason": "up to 500 characters"}',
      {
        cause,
      },
    )
  }
}
