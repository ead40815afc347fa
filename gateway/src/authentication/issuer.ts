import type { Clock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { z } from 'zod'

export type Issuer = {
  /**
   * The claims of a token of this issuer for this audience.
   *
   * @throws {CredentialRefused} whatever is wrong with the token
   * @throws {DomainError} UNAVAILABLE when the issuer's keys cannot be had: that is no verdict
   */
  verify(token: string): Promise<VerifiedClaims>
  /** Resolves once the issuer's keys have been had, in this process, at least once. */
  ready(): Promise<void>
}

export type VerifiedClaims = JWTPayload & {
  iss: string
  sub: string
  exp: number
  /** Id of the key that signed it; null when it names none. */
  signingKey: string | null
}

/** The reason is for the log: whoever presents a bad credential learns none. */
export class CredentialRefused extends Error {
  override readonly name = 'CredentialRefused'
}

/** Asymmetric only: with a shared secret, a public key could pass for one. */
const ALGORITHMS = ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256']
const CLOCK_TOLERANCE_SECONDS = 5
const FETCH_TIMEOUT_MS = 3_000

/**
 * An OpenID Connect issuer, found by discovery (OpenID Connect Discovery 1.0, section 4) when it is
 * first needed and looked for again until it answers.
 */
export function createIssuer({
  issuer,
  audience,
  keysUrl,
  clock,
  log,
}: {
  issuer: string
  audience: string
  /** Of the issuer's key set: it is not discovered then. */
  keysUrl?: string
  clock: Clock
  log: Log
}): Issuer {
  let discovery: Promise<RemoteKeys> | undefined
  let hasKeys = false

  return {
    async verify(token) {
      const { payload, protectedHeader } = await jwtVerify(token, keyOf, {
        algorithms: ALGORITHMS,
        issuer,
        audience,
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: clock.now(),
        requiredClaims: ['iss', 'aud', 'sub', 'exp'],
      }).catch((error: unknown) => {
        throw isTokensFault(error) ? new CredentialRefused(reasonOf(error)) : unavailable(error)
      })
      const { iss = '', exp = 0, iat } = payload
      const sub: unknown = payload.sub
      const now = clock.now().getTime() / 1000
      if (iat !== undefined && iat > now + CLOCK_TOLERANCE_SECONDS) {
        throw new CredentialRefused('issued in the future')
      }
      if (!isSubject(sub)) throw new CredentialRefused('bad subject')
      return { ...payload, iss, sub, exp, signingKey: protectedHeader.kid ?? null }
    },
    async ready() {
      if (!hasKeys) await reload()
    },
  }

  async function reload(): Promise<void> {
    await (await discovered()).reload()
    hasKeys = true
  }

  async function keyOf(...[header, token]: Parameters<JWTVerifyGetKey>) {
    const keys = await discovered()
    const key = await keys(header, token)
    hasKeys = true
    return key
  }

  function discovered(): Promise<RemoteKeys> {
    if (keysUrl !== undefined) discovery ??= Promise.resolve(keysAt(keysUrl))
    discovery ??= discover(issuer).catch((error: unknown) => {
      discovery = undefined
      log.warn({ err: error, issuer }, 'the issuer cannot be discovered')
      throw error
    })
    return discovery
  }
}

/** A text of at most 255 ASCII characters (OpenID Connect Core, section 2), none of them a control. */
function isSubject(sub: unknown): sub is string {
  return typeof sub === 'string' && /^[\x20-\x7e]{1,255}$/.test(sub)
}

type RemoteKeys = ReturnType<typeof createRemoteJWKSet>

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) })

async function discover(issuer: string): Promise<RemoteKeys> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await fetch(url, {
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    redirect: 'error',
  })
  if (!response.ok) throw new Error(`discovery answered ${response.status}`)
  const found = Discovery.parse(await response.json())
  // Section 4.3: else one issuer could vouch for the tokens of another.
  if (found.issuer !== issuer) throw new Error('discovery names another issuer')
  return keysAt(found.jwks_uri)
}

function keysAt(url: string): RemoteKeys {
  return createRemoteJWKSet(new URL(url), { timeoutDuration: FETCH_TIMEOUT_MS })
}

/** As opposed to a fault on the way to the keys, which says nothing about the token. */
function isTokensFault(error: unknown): boolean {
  if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid) return false
  // jose's own class alone: the key set answered with something that is not a key set.
  return error instanceof errors.JOSEError && error.code !== errors.JOSEError.code
}

function reasonOf(error: unknown): string {
  return error instanceof errors.JOSEError ? `${error.code}: ${error.message}` : 'malformed'
}

function unavailable(cause: unknown): DomainError {
  return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
    cause,
    retryAfterSeconds: 2,
  })
}
