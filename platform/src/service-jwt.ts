import {
  type CryptoKey,
  createLocalJWKSet,
  errors,
  importJWK,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from 'jose'
import type { Clock } from './clock.ts'
import { type PrivateJwk, serviceOfKid } from './trusted-keys.ts'

/** Longest life of a token between services. */
export const MAX_LIFETIME_SECONDS = 60

/** How far the clocks of two machines may differ. */
const CLOCK_TOLERANCE_SECONDS = 5

export type TokenRefusal =
  | 'missing'
  | 'malformed'
  | 'key'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'expired'
  | 'lifetime'
  | 'claims'

/** Why a token was refused; the reason is for metrics and logs, not for its bearer. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused'
  readonly reason: TokenRefusal

  constructor(reason: TokenRefusal, cause?: unknown) {
    super(`token refused: ${reason}`, cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

export type ServiceJwtSigner = (
  typ: string,
  audience: string,
  claims: Readonly<Record<string, unknown>>,
  lifetimeSeconds: number,
) => Promise<string>

/** Signs as one service with its own Ed25519 key. */
export function createServiceJwtSigner({
  issuer,
  privateJwk,
  clock,
}: {
  issuer: string
  privateJwk: PrivateJwk
  clock: Clock
}): ServiceJwtSigner {
  const key = importJWK(privateJwk, 'EdDSA') as Promise<CryptoKey>
  return async (typ, audience, claims, lifetimeSeconds) => {
    const now = Math.floor(clock.now().getTime() / 1000)
    return new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'EdDSA', typ, kid: privateJwk.kid })
      .setIssuer(issuer)
      .setAudience(audience)
      .setIssuedAt(now)
      .setExpirationTime(now + lifetimeSeconds)
      .sign(await key)
  }
}

export type VerifiedJwt = JWTPayload & { iss: string; iat: number; exp: number }

/**
 * Verifies tokens of this kind for this audience: signed by the key of the very service that they
 * name as issuer, and living no longer than a minute.
 *
 * @returns a function that throws {TokenRefused}
 */
export function createServiceJwtVerifier({
  typ,
  audience,
  jwks,
  issuers,
  clock,
}: {
  typ: string
  audience: string
  jwks: JSONWebKeySet
  /** undefined: any service with a key; the caller decides further */
  issuers?: readonly string[]
  clock: Clock
}): (token: string | undefined) => Promise<VerifiedJwt> {
  const keyOf = createLocalJWKSet(jwks)
  return async (token) => {
    if (!token) throw new TokenRefused('missing')
    const { payload, protectedHeader } = await jwtVerify(token, keyOf, {
      algorithms: ['EdDSA'],
      typ,
      audience,
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: clock.now(),
      requiredClaims: ['iss', 'aud', 'iat', 'exp'],
    }).catch((error: unknown) => {
      throw new TokenRefused(reasonOf(error), error)
    })
    const { iss = '', iat = 0, exp = 0 } = payload
    if (!protectedHeader.kid || serviceOfKid(protectedHeader.kid) !== iss) {
      throw new TokenRefused('issuer')
    }
    if (issuers && !issuers.includes(iss)) throw new TokenRefused('issuer')
    const now = clock.now().getTime() / 1000
    if (exp - iat > MAX_LIFETIME_SECONDS || iat > now + CLOCK_TOLERANCE_SECONDS) {
      throw new TokenRefused('lifetime')
    }
    return { ...payload, iss, iat, exp }
  }
}

function reasonOf(error: unknown): TokenRefusal {
  if (error instanceof errors.JWTExpired) return 'expired'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature'
  if (error instanceof errors.JWKSNoMatchingKey) return 'key'
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.claim === 'aud' ? 'audience' : error.claim === 'typ' ? 'malformed' : 'claims'
  }
  return 'malformed'
}
