import { DomainError } from '@berth/platform/errors'
import { parseId } from '@berth/platform/ids'
import { cookieValues } from '../sessions/cookies.ts'
import type { SessionStore } from '../sessions/store.ts'
import { isCsrfOf, isSessionToken, tokenHashOf } from '../sessions/token.ts'
import type { Actors } from './actors.ts'
import type { Authenticated, CredentialResolver, Presented } from './authenticate.ts'
import { UNSIGNED } from './dependents.ts'
import { CredentialRefused } from './issuer.ts'

/**
 * The cookie of a browser session. A browser sends it whoever's page asks, so that the cookie alone is
 * no proof that one of our pages did: over HTTP the page proves it by `berth-csrf`, which only our
 * pages can read, and for a WebSocket, which takes no header of a page's, by its Origin.
 *
 * @param allowedOrigins pages that may act for who is signed in
 */
export function browserSession({
  sessions,
  actors,
  cookieName,
  allowedOrigins,
}: {
  sessions: SessionStore
  actors: Pick<Actors, 'of'>
  cookieName: string
  allowedOrigins: readonly string[]
}): CredentialResolver {
  return (presented) => (presented.cookie === undefined ? null : resolve(presented))

  async function resolve(presented: Presented): Promise<Authenticated | null> {
    const token = tokenOf(presented, cookieName)
    if (token === null) return null
    checkPage(token, presented, allowedOrigins)
    const tokenHash = tokenHashOf(token)
    // Awaited only where they are no values yet: most requests find both known.
    const found = sessions.find(tokenHash)
    const session = found instanceof Promise ? await found : found
    const { issuer, subject, expiresAt } = session
    const asked = presented.organizationId
    const organizationId = asked === undefined ? null : parseId('org', asked)
    const known = actors.of({ issuer, subject, organizationId })
    const person = known instanceof Promise ? await known : known
    // A connection that only stays open is not somebody at work.
    if (!presented.isFollowUp) sessions.used(tokenHash)
    return { actor: session.presentedBy(person), expiresAt, signingKeys: UNSIGNED }
  }
}

/**
 * The cookie's value; null when there is none.
 *
 * @throws {CredentialRefused} for a malformed one, and for two, of which one was planted
 */
export function tokenOf({ cookie }: Pick<Presented, 'cookie'>, cookieName: string): string | null {
  if (cookie === undefined) return null
  const [token, ...others] = cookieValues(cookie, cookieName)
  if (token === undefined) return null
  if (others.length > 0) throw new CredentialRefused('two session cookies')
  if (!isSessionToken(token)) throw new CredentialRefused('a malformed session cookie')
  return token
}

/** @throws {DomainError} FORBIDDEN when a page asks that is none of ours */
export function checkOrigin(
  { origin }: Pick<Presented, 'origin'>,
  allowedOrigins: readonly string[],
): void {
  if (origin !== undefined && !allowedOrigins.includes(origin)) {
    throw new DomainError('FORBIDDEN', 'Pages of this origin may not act for who is signed in')
  }
}

/** @throws {DomainError} FORBIDDEN unless one of our pages asks */
export function checkPage(
  token: string,
  { face = 'http', origin, csrf }: Presented,
  allowedOrigins: readonly string[],
): void {
  checkOrigin({ origin }, allowedOrigins)
  if (face === 'websocket' && origin === undefined) {
    throw new DomainError(
      'FORBIDDEN',
      'A connection by session cookie comes from a page: no Origin',
    )
  }
  if (face === 'http' && (csrf === undefined || !isCsrfOf(token, csrf))) {
    throw new DomainError('FORBIDDEN', 'Send the header berth-csrf, as GET /auth/session tells it')
  }
}
