import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  errors,
  type JWK,
  type JWTVerifyGetKey,
} from 'jose'
import { z } from 'zod'

type Jose = Parameters<JWTVerifyGetKey>

/** A public key of the issuer's. */
export type SigningKey = {
  /**
   * What it is known by: its thumbprint (RFC 7638, SHA-256), and every `kid` that the set gives it.
   * The same array for as long as the set is.
   */
  readonly ids: readonly string[]
  readonly thumbprint: string
  readonly kid: string | undefined
  /** @throws {errors.JWKSNoMatchingKey} when it is not for tokens with such a header */
  readonly get: (
    header: Jose[0],
    token: Jose[1],
  ) => ReturnType<ReturnType<typeof createLocalJWKSet>>
}

export type KeySet = {
  readonly keys: readonly SigningKey[]
  /**
   * The one key that a token with this header can be signed by.
   *
   * @throws {errors.JOSEError} when there is none, or several
   */
  find(...token: Jose): Promise<FoundKey>
}

export type FoundKey = {
  readonly key: Awaited<ReturnType<SigningKey['get']>>
  readonly ids: readonly string[]
}

/** No issuer has as many; each costs at every token that names none. */
const MAX_KEYS = 100
const MIN_RSA_BITS = 2_048

const JwkSet = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string() }))
    .min(1)
    .max(MAX_KEYS),
})

/**
 * What an issuer publishes (RFC 7517, section 5). Keys of kinds that are of no use here are left out.
 *
 * @throws {Error} when it is no key set, too large, or has no key that is of use
 */
export async function parseKeySet(json: unknown): Promise<KeySet> {
  const found = await Promise.all((JwkSet.parse(json).keys as JWK[]).filter(isOfUse).map(named))
  const usable = found.filter((it) => it !== null)
  if (usable.length === 0) throw new Error('the key set has no key that is of use')
  const idsOf = new Map<string, readonly string[]>()
  for (const { thumbprint } of usable) {
    if (idsOf.has(thumbprint)) continue
    const same = usable.filter((it) => it.thumbprint === thumbprint)
    const kids = same.flatMap(({ jwk: { kid } }) => (kid === undefined ? [] : [kid]))
    idsOf.set(thumbprint, Object.freeze([...new Set([thumbprint, ...kids])]))
  }
  const keys = usable.map(({ jwk, thumbprint }) => ({
    ids: idsOf.get(thumbprint) ?? [thumbprint],
    thumbprint,
    kid: jwk.kid,
    get: createLocalJWKSet({ keys: [jwk] }),
  }))
  return { keys, find: (header, token) => findIn(keys, header, token) }
}

async function findIn(keys: readonly SigningKey[], ...[header, token]: Jose): Promise<FoundKey> {
  const candidates = header.kid === undefined ? keys : keys.filter(({ kid }) => kid === header.kid)
  const found = new Map<string, FoundKey>()
  for (const { get, ids, thumbprint } of candidates) {
    try {
      if (!found.has(thumbprint)) found.set(thumbprint, { key: await get(header, token), ids })
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
    }
  }
  const [only, ...others] = found.values()
  if (!only) throw new errors.JWKSNoMatchingKey()
  if (others.length > 0) throw new errors.JWKSMultipleMatchingKeys()
  return only
}

/** Public, asymmetric, and not too weak: by such an RSA key jose would not verify anyway. */
function isOfUse({ kty, n, d, use }: JWK): boolean {
  if (d !== undefined || (use !== undefined && use !== 'sig')) return false
  if (kty === 'RSA') return typeof n === 'string' && bitsOf(n) >= MIN_RSA_BITS
  return kty === 'EC' || kty === 'OKP'
}

function bitsOf(n: string): number {
  const bytes = Buffer.from(n, 'base64url')
  const start = bytes.findIndex((byte) => byte !== 0)
  return start < 0 ? 0 : (bytes.length - start) * 8 - Math.clz32(bytes[start] ?? 0) + 24
}

async function named(jwk: JWK) {
  // One that is malformed is not a reason to do without the others.
  const thumbprint = await calculateJwkThumbprint(jwk).catch(() => null)
  return thumbprint === null ? null : { jwk, thumbprint }
}
