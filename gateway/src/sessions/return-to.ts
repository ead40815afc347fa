import { DomainError } from '@berth/platform/errors'

const MAX_LENGTH = 2_000

/**
 * Where to go after the sign-in: a path of this site, with its query. Whatever a browser could take for
 * another site is refused and not repaired: it strips blanks and control characters, and a backslash
 * is a slash to it (WHATWG URL, section 4.4).
 *
 * @throws {DomainError} BAD_INPUT for anything that is not plainly a path
 */
export function parseReturnTo(text: string | null, publicUrl: URL): string {
  if (text === null || text === '') return '/'
  const isPath = text.length <= MAX_LENGTH && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text)
  const url = isPath ? URL.parse(text, publicUrl.href) : null
  if (url?.origin !== publicUrl.origin || url.pathname.startsWith('//')) {
    throw new DomainError('BAD_INPUT', '`returnTo` is a path of this site, such as /allocations')
  }
  return `${url.pathname}${url.search}${url.hash}`
}
