import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { JSONWebKeySet, JWK } from 'jose'
import { z } from 'zod'
import { ConfigError } from './config.ts'

/** An Ed25519 JWK with its key id, `<service>-<n>`. */
export type ServiceJwk = JWK & { kid: string }
export type PrivateJwk = ServiceJwk

export type KeyEncryptionKeys = {
  /** Id of the key that seals; the others only open. */
  readonly current: string
  readonly keys: Readonly<Record<string, Uint8Array>>
}

export type TrustedKeys = {
  readonly privateJwk: PrivateJwk
  /** Public keys of all services. */
  readonly jwks: JSONWebKeySet
  /** @throws {ConfigError} when the service was given no `kek.json` */
  readonly keks: KeyEncryptionKeys
  /** @throws {ConfigError} when the service was given no `cursor.json` */
  readonly cursorKey: Uint8Array
}

/** The service whose key this is, by the key id: a service signs with none but its own. */
export function serviceOfKid(kid: string): string | null {
  return /^([a-z][a-z-]*)-\d+$/.exec(kid)?.[1] ?? null
}

/** A new key pair of a service; the higher number is the newer key. */
export function newServiceKey(
  service: string,
  number = 1,
): { privateJwk: PrivateJwk; publicJwk: ServiceJwk } {
  const kid = `${service}-${number}`
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return {
    privateJwk: { ...(privateKey.export({ format: 'jwk' }) as JWK), kid },
    publicJwk: { ...(publicKey.export({ format: 'jwk' }) as JWK), kid },
  }
}

/**
 * Reads a service's keys from its keys directory.
 *
 * @throws {ConfigError} when a file is missing or malformed, a private one can be read by others,
 * or the own key is not among the public ones
 */
export function loadKeys(dir: string, service: string): TrustedKeys {
  const privateJwk = read(`${service}.jwk.json`, PrivateJwkFile, 'private') as PrivateJwk
  const jwks = read('services.jwks.json', JwksFile, 'public') as JSONWebKeySet
  if (serviceOfKid(privateJwk.kid) !== service) {
    throw new ConfigError(`${service}.jwk.json: the key id must be ${service}-<number>`)
  }
  if (!jwks.keys.some(({ kid, x }) => kid === privateJwk.kid && x === privateJwk.x)) {
    throw new ConfigError(`services.jwks.json: does not hold the public key ${privateJwk.kid}`)
  }
  return {
    privateJwk,
    jwks,
    get keks() {
      const { current, keys } = read('kek.json', KekFile, 'private')
      if (!Object.hasOwn(keys, current)) throw new ConfigError('kek.json: has no current key')
      return { current, keys }
    },
    get cursorKey() {
      return read('cursor.json', CursorFile, 'private').key
    },
  }

  function read<S extends z.ZodType>(
    name: string,
    schema: S,
    kind: 'private' | 'public',
  ): z.output<S> {
    const path = join(dir, name)
    try {
      if (kind === 'private' && statSync(path).mode & 0o077) {
        throw new ConfigError(`${name}: must be readable by its owner alone (chmod 600)`)
      }
      return schema.parse(JSON.parse(readFileSync(path, 'utf8')))
    } catch (error) {
      if (error instanceof ConfigError) throw error
      // The cause may quote the file, and so the key.
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      throw new ConfigError(`${name} in the keys directory ${isMissing ? 'is missing' : 'is bad'}`)
    }
  }
}

const Kid = z.string().refine((kid) => serviceOfKid(kid) !== null)
const PublicJwk = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string(),
  kid: Kid,
})
const JwksFile = z.object({ keys: z.array(PublicJwk) })
const PrivateJwkFile = PublicJwk.extend({ d: z.string() })
const Key32 = z
  .base64()
  .transform((text): Uint8Array => Buffer.from(text, 'base64'))
  .refine((key) => key.length === 32)
const KekFile = z.object({ current: z.string(), keys: z.record(z.string(), Key32) })
const CursorFile = z.object({ key: Key32 })
