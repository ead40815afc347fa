import type { Clock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import type { DeniedKeys } from './denied-keys.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import { parseStrictJson } from './strict-json.ts'

export type Issuer = {
  /**
   * The claims of a token of this issuer for this audience.
   *
   * @throws {CredentialRefused} whatever is wrong with the token
   * @throws {DomainError} UNAVAILABLE when the issuer's keys, or which of them are denied, cannot be
   * known: that is no verdict
   */
  verify(token: string): Promise<VerifiedClaims>
}

export type VerifiedClaims = JWTPayload & {
  iss: string
  sub: string
  exp: number
  /** What the key that signed it is known by: its thumbprint, and each `kid` of it. */
  signingKeys: readonly string[]
}

/** The reason is for the log: whoever presents a bad credential learns none. */
export class CredentialRefused extends Error {
  override readonly name = 'CredentialRefused'
}

/** Asymmetric only: with a shared secret, a public key could pass for one. */
const ALGORITHMS = ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256']
const CLOCK_TOLERANCE_SECONDS = 5
const KEY_ID = /^[\x20-\x7e]{1,255}$/

/** Compact and signed (RFC 7515, section 7.1); of it all that is written otherwise is refused unread. */
const COMPACT = /^([\w-]+)\.([\w-]+)\.[\w-]+$/

/** Verifies what an OpenID Connect issuer signs. */
export function createIssuer({
  issuer,
  audience,
  keys,
  denied,
  clock,
}: {
  issuer: string
  audience: string
  keys: Pick<IssuerKeys, 'find'>
  /** Without it no key is. */
  denied?: Pick<DeniedKeys, 'check'> | undefined
  clock: Clock
}): Issuer {
  const findTrusted = trustedBy({ keys, denied })
  return {
    async verify(token) {
      const { kid } = headerOf(token)
      // Before anything is computed or fetched for it; the key itself, which has other names, below.
      if (kid !== undefined) await denied?.check([kid])
      let signingKeys: readonly string[] = []
      const { payload } = await jwtVerify(
        token,
        async (...jws) => {
          const found = await findTrusted(...jws)
          signingKeys = found.ids
          return found.key
        },
        {
          algorithms: ALGORITHMS,
          issuer,
          audience,
          clockTolerance: CLOCK_TOLERANCE_SECONDS,
          currentDate: clock.now(),
          requiredClaims: ['iss', 'aud', 'sub', 'exp'],
        },
      ).catch((error: unknown) => {
        throw refusalOf(error)
      })
      // jose takes the last of two claims of one name; others on the way may have taken the first.
      partOf(token, 2)
      const { iss = '', exp = 0, iat } = payload
      const sub: unknown = payload.sub
      const now = clock.now().getTime() / 1000
      if (iat !== undefined && iat > now + CLOCK_TOLERANCE_SECONDS) {
        throw new CredentialRefused('issued in the future')
      }
      if (!isSubject(sub)) throw new CredentialRefused('bad subject')
      return { ...payload, iss, sub, exp, signingKeys }
    },
  }
}

/**
 * Finds the issuer's keys, but for those that are denied.
 *
 * @returns a function that throws as `IssuerKeys.find`, and {CredentialRefused} for a denied one
 */
export function trustedBy({
  keys,
  denied,
}: {
  keys: Pick<IssuerKeys, 'find'>
  denied?: Pick<DeniedKeys, 'check'> | undefined
}): IssuerKeys['find'] {
  return async (...jws) => {
    const found = await keys.find(...jws)
    await denied?.check(found.ids)
    return found
  }
}

/** @throws {CredentialRefused} */
function headerOf(token: string): { kid: string | undefined } {
  const { alg, kid, ...header } = partOf(token, 1)
  if (typeof alg !== 'string' || !ALGORITHMS.includes(alg)) {
    throw new CredentialRefused('an algorithm that is not allowed')
  }
  // None of what a header can demand is done here (RFC 7515, section 4.1.11).
  if ('crit' in header) throw new CredentialRefused('a critical header')
  if (kid === undefined) return { kid }
  if (typeof kid !== 'string' || !KEY_ID.test(kid)) throw new CredentialRefused('bad key id')
  return { kid }
}

/** @throws {CredentialRefused} unless it is a JSON object whose names differ */
function partOf(token: string, part: 1 | 2): Record<string, unknown> {
  const text = COMPACT.exec(token)?.[part]
  const json = text === undefined ? null : parseStrictJson(Buffer.from(text, 'base64url'))
  if (json === null) throw new CredentialRefused('malformed')
  return json
}

/** A text of at most 255 ASCII characters (OpenID Connect Core, section 2), none of them a control. */
function isSubject(sub: unknown): sub is string {
  return typeof sub === 'string' && /^[\x20-\x7e]{1,255}$/.test(sub)
}

/** Whatever else is thrown on the way, the token has brought it about. */
function refusalOf(error: unknown): Error {
  if (error instanceof DomainError || error instanceof CredentialRefused) return error
  return new CredentialRefused(reasonOf(error), { cause: error })
}

/** In our own words: what jose says may quote the token. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'expired'
  if (error instanceof errors.JWTClaimValidationFailed)
    return `the claim ${error.claim}: ${error.reason}`
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'bad signature'
  if (error instanceof errors.JWKSNoMatchingKey) return 'signed by no key of the issuer'
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return 'any of several keys may have signed it'
  if (error instanceof errors.JOSEAlgNotAllowed) return 'an algorithm that is not allowed'
  return error instanceof errors.JOSEError ? `malformed: ${error.code}` : 'malformed'
}
