import { crc32 } from 'node:zlib'
import type { Id } from '@berth/platform/ids'

/** What installation a key is for: `live` in production. */
export type ApiKeyEnvironment = 'live' | 'dev' | 'test'

export type ApiKeyParts = {
  readonly environment: ApiKeyEnvironment
  readonly id: Id<'key'>
  /** 43 letters and digits, which is 256 bits. */
  readonly secret: string
}

/** What keys of an installation are for, by its `BERTH_ENV`: none is tried on another. */
export function apiKeyEnvironment(env: 'production' | 'development' | 'test'): ApiKeyEnvironment {
  return env === 'production' ? 'live' : env === 'development' ? 'dev' : 'test'
}

/** How every API key begins, and no other credential. */
export const API_KEY_PREFIX = 'berth_'

/**
 * An API key as its holder has it: `berth_<environment>_<id>_<secret>_<checksum>`, of letters, digits
 * and underscores, so that a double click selects it and a scanner for secrets finds it. The id is the
 * part of `key_<id>` after the underscore; the checksum is CRC-32 of all before it, in base 62.
 */
export function formatApiKey(parts: ApiKeyParts): string {
  const text = `${apiKeyPrefix(parts)}_${parts.secret}`
  return `${text}_${checksumOf(text)}`
}

/** How a key begins, up to its secret: what may be shown of it. */
export function apiKeyPrefix({ environment, id }: Omit<ApiKeyParts, 'secret'>): string {
  return `${API_KEY_PREFIX}${environment}_${id.slice('key_'.length)}`
}

/** Null for what was never a key: mistyped, cut short, or made up without its checksum. Asks nobody. */
export function parseApiKey(text: string): ApiKeyParts | null {
  const [, body = '', environment, id, secret = '', checksum] = SYNTAX.exec(text) ?? []
  if (checksum === undefined || checksum !== checksumOf(body)) return null
  return { environment: environment as ApiKeyEnvironment, id: `key_${id}`, secret }
}

const SYNTAX =
  /^(berth_(live|dev|test)_([0-7][0-9a-hjkmnp-tv-z]{25})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})$/
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function checksumOf(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let i = 0; i < 6; i++) {
    digits = DIGITS.charAt(rest % 62) + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}
