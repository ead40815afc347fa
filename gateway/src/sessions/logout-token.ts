import type { Clock } from '@berth/platform/clock'
import { errors, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { CredentialRefused } from '../authentication/issuer.ts'

/** Whose sessions the issuer wants ended. */
export type LogoutRequest = {
  readonly subject: string | null
  readonly issuerSession: string | null
  readonly issuedAt: Date
}

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const ALGORITHMS = ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256']
const CLOCK_TOLERANCE_SECONDS = 30
/** An issuer that could not reach us tries again within this, or not at all. */
const MAX_AGE_SECONDS = 300

/**
 * A logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6). What an ID token also is, a
 * logout token is not: it has its event, and no nonce.
 *
 * @throws {CredentialRefused} whatever is wrong with it
 */
export async function verifyLogoutToken(
  token: string,
  {
    keys,
    issuer,
    clientId,
    clock,
  }: { keys: JWTVerifyGetKey; issuer: string; clientId: string; clock: Clock },
): Promise<LogoutRequest> {
  const { payload, protectedHeader } = await jwtVerify(token, keys, {
    algorithms: ALGORITHMS,
    issuer,
    audience: clientId,
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    maxTokenAge: MAX_AGE_SECONDS,
    currentDate: clock.now(),
    requiredClaims: ['iat', 'jti', 'events'],
  }).catch((error: unknown) => {
    const isFault = error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid
    if (isFault || !(error instanceof errors.JOSEError) || error.code === errors.JOSEError.code) {
      throw error
    }
    throw new CredentialRefused(`${error.code}: ${error.message}`)
  })
  const { events, sub, sid, iat = 0, nonce } = payload
  if (protectedHeader.typ && !/^(application\/)?(logout\+jwt|jwt)$/i.test(protectedHeader.typ)) {
    throw new CredentialRefused('a token of another type')
  }
  if (!isRecord(events) || !isRecord(events[EVENT])) throw new CredentialRefused('no logout event')
  if (nonce !== undefined) throw new CredentialRefused('a logout token has no nonce')
  const subject = textOf(sub)
  const issuerSession = textOf(sid)
  if (subject === null && issuerSession === null) throw new CredentialRefused('names nobody')
  return { subject, issuerSession, issuedAt: new Date(iat * 1_000) }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textOf(value: unknown): string | null {
  if (value === undefined) return null
  if (typeof value === 'string' && value !== '' && value.length <= 255) return value
  throw new CredentialRefused('a claim is no text')
}
