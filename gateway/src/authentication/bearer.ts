const BEARER = /^Bearer +(\S{1,16384})$/i

/** What `Authorization: Bearer …` presents (RFC 6750, section 2.1); null when that is not what it is. */
export function bearerOf(authorization: string | undefined): string | null {
  return authorization === undefined ? null : (BEARER.exec(authorization)?.[1] ?? null)
}
