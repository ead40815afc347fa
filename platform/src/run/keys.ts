import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import type { JWK } from 'jose'
import { readJson, writeJson } from '../servers/json-file.ts'

/**
 * Makes what is missing of the keys that services trust each other by; keeps what is there.
 *
 * - `<service>.jwk.json`: the service's own Ed25519 key; its key id is `<service>-<n>`
 * - `services.jwks.json`: the public keys of all services, those rotated out included
 * - `kek.json`: key-encryption keys
 * - `cursor.json`: the key that seals cursors
 *
 * All but the public ones can be read by their owner alone.
 *
 * @throws {SetupError} when one of these files is not whole
 */
export function writeKeys(directory: string, services: readonly string[]): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chmodSync(directory, 0o700)
  const at = (name: string) => path.join(directory, name)
  const keep = <T extends object>(name: string, remedy: string, make: () => T): T => {
    const kept = readJson<T>(at(name), remedy)
    if (kept) return kept
    const made = make()
    writeJson(at(name), made, 0o600)
    return made
  }
  const own = services.map((service) =>
    publicPart(
      keep(`${service}.jwk.json`, REMOVE, () => ({ ...newKey(), kid: `${service}-1` }) as JWK),
    ),
  )
  keep('kek.json', 'Restore it: without it no stored secret can be opened', () => ({
    current: '1',
    keys: { 1: randomBytes(32).toString('base64') },
  }))
  keep('cursor.json', REMOVE, () => ({ key: randomBytes(32).toString('base64') }))

  const { keys: known } = readJson<{ keys: JWK[] }>(at('services.jwks.json'), REMOVE) ?? {
    keys: [],
  }
  const others = known.filter(({ kid }) => !own.some((key) => key.kid === kid))
  writeJson(at('services.jwks.json'), { keys: [...own, ...others] }, 0o644)
}

const REMOVE = 'Remove it: a new one is made'

function newKey(): JWK {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }) as JWK
}

function publicPart({ kty, crv, x, kid }: JWK): JWK {
  return { kty, crv, x, kid, alg: 'EdDSA', use: 'sig' } as JWK
}
