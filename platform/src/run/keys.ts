import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { JWK } from 'jose'

/**
 * Makes what is missing of the keys that services trust each other by; keeps what is there.
 *
 * - `<service>.jwk.json`: the service's own Ed25519 key; its key id is `<service>-<n>`
 * - `services.jwks.json`: the public keys of all services, those rotated out included
 * - `kek.json`: key-encryption keys
 * - `cursor.json`: the key that seals cursors
 *
 * All but the public ones can be read by their owner alone.
 */
export function writeKeys(directory: string, services: readonly string[]): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chmodSync(directory, 0o700)
  const at = (name: string) => path.join(directory, name)
  const keep = (name: string, make: () => object) => {
    if (!existsSync(at(name))) write(at(name), make(), 0o600)
  }
  for (const service of services)
    keep(`${service}.jwk.json`, () => ({ ...newKey(), kid: `${service}-1` }))
  keep('kek.json', () => ({ current: '1', keys: { 1: randomBytes(32).toString('base64') } }))
  keep('cursor.json', () => ({ key: randomBytes(32).toString('base64') }))

  const own = services.map((service) => publicPart(read(at(`${service}.jwk.json`)) as JWK))
  const known = existsSync(at('services.jwks.json'))
    ? (read(at('services.jwks.json')) as { keys: JWK[] }).keys
    : []
  const others = known.filter(({ kid }) => !own.some((key) => key.kid === kid))
  write(at('services.jwks.json'), { keys: [...own, ...others] }, 0o644)
}

function newKey(): JWK {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }) as JWK
}

function publicPart({ kty, crv, x, kid }: JWK): JWK {
  return { kty, crv, x, kid, alg: 'EdDSA', use: 'sig' } as JWK
}

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'))
}

/** Whole or not at all: a service may read it at this moment. */
function write(file: string, value: object, mode: number): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(value, null, 2)}\n`, { mode })
  renameSync(`${file}.new`, file)
}
