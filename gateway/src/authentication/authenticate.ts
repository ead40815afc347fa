import { type Actor, anonymous } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { parseId } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Rates } from '../admit/rates.ts'
import type { Actors } from './actors.ts'
import { bearerOf } from './bearer.ts'
import { UNSIGNED } from './dependents.ts'
import { CredentialRefused } from './issuer.ts'
import type { Tokens } from './tokens.ts'

/** What a request or a connection presents to say who it is. */
export type Presented = {
  readonly authorization: string | undefined
  /** The organization to act for. */
  readonly organizationId: string | undefined
  readonly clientIp: string
  /** How it came in, which decides how a page proves that it is ours: HTTP unless said. */
  readonly face?: 'http' | 'websocket' | 'session-page' | undefined
  /** The session's, as the browser sent it. */
  readonly cookie?: string | undefined
  readonly csrf?: string | undefined
  readonly origin?: string | undefined
  /** Presented again by us, for a connection that is open: nobody has done anything. */
  readonly isFollowUp?: boolean | undefined
}

export type Authenticated = {
  readonly actor: Actor
  /** When the credential ends; null when it does not. */
  readonly expiresAt: Date | null
  /** What the key that signed the credential is known by; empty when none did. */
  readonly signingKeys: readonly string[]
}

const NOBODY: Authenticated = { actor: anonymous, expiresAt: null, signingKeys: UNSIGNED }

/** Null when nothing of its kind was presented. @throws {CredentialRefused} when it is bad */
export type CredentialResolver = (
  presented: Presented,
) => Authenticated | null | Promise<Authenticated | null>

export type Authenticate = (presented: Presented, log: Log) => Promise<Authenticated>

/** The same, for those who were authenticated before: no guess. @throws {CredentialRefused} too */
export type Identify = (presented: Presented) => Promise<Authenticated>

/** The first kind of credential that was presented decides. */
export function createIdentify(resolvers: readonly CredentialResolver[]): Identify {
  return async (presented) => {
    for (const resolve of resolvers) {
      const resolved = resolve(presented)
      const authenticated = resolved instanceof Promise ? await resolved : resolved
      if (authenticated) return authenticated
    }
    return NOBODY
  }
}

/**
 * Who asks. A bad credential is refused and never passed over; only who presents nothing is anonymous.
 *
 * @throws {DomainError} UNAUTHENTICATED for a bad credential, FORBIDDEN for an organization that is
 * not theirs, UNAVAILABLE when it cannot be found out now
 */
export function createAuthenticate({
  identify,
  rates,
  metrics,
}: {
  identify: Identify
  rates: Rates
  metrics: Metrics
}): Authenticate {
  const refusals = metrics.counter('berth_credentials_refused_total', 'Credentials refused')
  return async (presented, log) => {
    try {
      return await identify(presented)
    } catch (error) {
      if (!(error instanceof CredentialRefused)) throw error
      refusals.inc()
      log.info({ reason: error.message }, 'credential refused')
      await slowDown(presented.clientIp)
      throw new DomainError('UNAUTHENTICATED', 'The credential is not valid: sign in again')
    }
  }

  /** Guessing is limited by address. Without the limiter, "no" is answer enough. */
  async function slowDown(clientIp: string): Promise<void> {
    await rates.take('auth', { actor: anonymous, clientIp }).catch((error: unknown) => {
      if (error instanceof DomainError && error.code === 'RATE_LIMITED') throw error
    })
  }
}

/** `Authorization: Bearer <token>` of the issuer. Any other scheme is a credential too: a bad one. */
export function bearer({ tokens, actors }: { tokens: Tokens; actors: Actors }): CredentialResolver {
  return async ({ authorization, organizationId }) => {
    if (authorization === undefined) return null
    const text = bearerOf(authorization)
    if (!text) throw new CredentialRefused('not a bearer token')
    // Awaited only where they are no values yet: most requests find both known.
    const verified = tokens.verify(text)
    const token = verified instanceof Promise ? await verified : verified
    const { issuer, subject, expiresAt, signingKeys } = token
    const organization = organizationId === undefined ? null : parseId('org', organizationId)
    const found = actors.of({ issuer, subject, organizationId: organization })
    const person = found instanceof Promise ? await found : found
    return { actor: token.presentedBy(person), expiresAt, signingKeys }
  }
}
