import type { JSONWebKeySet } from 'jose'
import { type Actor, actorFromClaims, actorToClaims } from './actor.ts'
import type { Clock } from './clock.ts'
import { DomainError } from './errors.ts'
import { createLru } from './lru.ts'
import type { Metrics } from './metrics.ts'
import {
  createServiceJwtSigner,
  createServiceJwtVerifier,
  MAX_LIFETIME_SECONDS,
  TokenRefused,
} from './service-jwt.ts'
import type { PrivateJwk } from './trusted-keys.ts'

/** Header of a subgraph call over HTTP. */
export const ACTOR_HEADER = 'berth-actor'
/** Field of `extensions` in a graphql-ws subscribe message: one socket carries many actors. */
export const ACTOR_EXTENSION = 'berthActor'

const TYP = 'actor+jwt'
const CACHED_ACTORS = 10_000

export type AssertionSigner = {
  /** A token for this service; the same one until half its life is over. */
  sign(actor: Actor, audience: string): Promise<string>
}

/** Signs who asks. Cached per actor and audience, because a signature costs 0.1–0.2 ms. */
export function createAssertionSigner({
  issuer,
  privateJwk,
  clock,
}: {
  issuer: string
  privateJwk: PrivateJwk
  clock: Clock
}): AssertionSigner {
  const signJwt = createServiceJwtSigner({ issuer, privateJwk, clock })
  const cache = createLru<string, { token: Promise<string>; renewAt: number }>(CACHED_ACTORS)
  return {
    sign(actor, audience) {
      const claims = actorToClaims(actor)
      const key = `${audience} ${JSON.stringify(claims)}`
      const now = clock.now().getTime()
      const cached = cache.get(key)
      if (cached && now < cached.renewAt) return cached.token
      const token = signJwt(TYP, audience, claims, MAX_LIFETIME_SECONDS)
      cache.set(key, { token, renewAt: now + (MAX_LIFETIME_SECONDS / 2) * 1000 })
      token.catch(() => cache.delete(key))
      return token
    },
  }
}

export type AssertionVerifier = {
  /** @throws {DomainError} UNAUTHENTICATED, whatever is wrong with the token */
  verify(token: string | undefined): Promise<Actor>
}

/**
 * Verifies assertions made for this service. Refusals are counted by reason; the caller of a
 * refused token learns none.
 *
 * @param issuers services whose word on an actor is taken
 */
export function createAssertionVerifier({
  audience,
  jwks,
  issuers = ['gateway'],
  clock,
  metrics,
}: {
  audience: string
  jwks: JSONWebKeySet
  issuers?: readonly string[]
  clock: Clock
  metrics: Metrics
}): AssertionVerifier {
  const verifyJwt = createServiceJwtVerifier({ typ: TYP, audience, jwks, issuers, clock })
  const cache = createLru<string, { actor: Actor; expiresAt: number }>(CACHED_ACTORS)
  const refusals = metrics.counter(
    'berth_assertion_refusals_total',
    'Actor assertions refused, by reason',
    ['reason'],
  )
  return {
    async verify(token) {
      const cached = token ? cache.get(token) : undefined
      if (token && cached) {
        if (clock.now().getTime() < cached.expiresAt) return cached.actor
        cache.delete(token)
      }
      try {
        const claims = await verifyJwt(token)
        const actor = actorFromClaims(claims)
        if (token) cache.set(token, { actor, expiresAt: claims.exp * 1000 })
        return actor
      } catch (error) {
        refusals.inc({ reason: error instanceof TokenRefused ? error.reason : 'claims' })
        throw new DomainError('UNAUTHENTICATED', 'The actor assertion is missing or not valid', {
          cause: error,
        })
      }
    },
  }
}
