import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'

/** What the cookie holds: 256 bits of nothing but chance, in base64url. */
export function newSessionToken(): string {
  return randomBytes(32).toString('base64url')
}

export function isSessionToken(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text)
}

/** By which the session is found; who reads it cannot present it. */
export function tokenHashOf(token: string): string {
  return hash('sha256', token, 'hex')
}

/**
 * What a page proves by that it could read an answer of this origin. Keyed by the token: bound to the
 * session, the same in every replica, and of no use to find the token by.
 */
export function csrfOf(token: string): string {
  return createHmac('sha256', token).update('berth/csrf/v1').digest('base64url')
}

export function isCsrfOf(token: string, given: string): boolean {
  const expected = Buffer.from(csrfOf(token))
  const presented = Buffer.from(given)
  return expected.length === presented.length && timingSafeEqual(expected, presented)
}
