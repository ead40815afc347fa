import type { SessionSettings } from './settings.ts'

/** The cookies of this gateway: what they are called, and how they are set. */
export type Cookies = {
  readonly session: Cookie
  /** Between leaving for the issuer and coming back. */
  readonly login: Cookie
}

export type Cookie = {
  readonly name: string
  /** The value of `Set-Cookie`. */
  set(value: string, maxAgeSeconds: number): string
  clear(): string
}

/**
 * `__Host-` makes a browser refuse the cookie unless it is Secure, for this host alone and for every
 * path, so that neither a page of a sibling domain nor one on plain HTTP can plant one.
 */
export const SESSION_COOKIE = '__Host-berth'

/** THE LOOPBACK EXCEPTION: without the prefix and without Secure. Production refuses it at start. */
export const LOOPBACK_COOKIE = 'berth-loopback'

export function createCookies({ isSecure }: Pick<SessionSettings, 'isSecure'>): Cookies {
  const name = isSecure ? SESSION_COOKIE : LOOPBACK_COOKIE
  const attributes = `Path=/; HttpOnly; SameSite=Lax${isSecure ? '; Secure' : ''}`
  const cookie = (own: string): Cookie => ({
    name: own,
    set: (value, maxAgeSeconds) => `${own}=${value}; Max-Age=${maxAgeSeconds}; ${attributes}`,
    clear: () => `${own}=; Max-Age=0; ${attributes}`,
  })
  return { session: cookie(name), login: cookie(`${name}-login`) }
}

/** The values that a `Cookie` header gives this name, in its order (RFC 6265, section 5.4). */
export function cookieValues(header: string | undefined, name: string): string[] {
  if (!header?.includes(name)) return []
  return header.split(';').flatMap((pair) => {
    const at = pair.indexOf('=')
    return pair.slice(0, at).trim() === name ? [pair.slice(at + 1).trim()] : []
  })
}
