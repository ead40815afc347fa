import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ConfigError } from './config.ts'
import { loadKeys, newServiceKey, serviceOfKid } from './trusted-keys.ts'

const own = newServiceKey('inventory', 2)
const key = Buffer.alloc(32, 7).toString('base64')
let dir: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keys-'))
  write('inventory.jwk.json', own.privateJwk)
  write('services.jwks.json', { keys: [newServiceKey('gateway').publicJwk, own.publicJwk] }, 0o644)
  write('kek.json', { current: 'k1', keys: { k1: key } })
  write('cursor.json', { key })
})
afterEach(() => rmSync(dir, { recursive: true }))

function write(name: string, value: unknown, mode = 0o600) {
  writeFileSync(join(dir, name), typeof value === 'string' ? value : JSON.stringify(value))
  chmodSync(join(dir, name), mode)
}

test('keys are read', () => {
  const keys = loadKeys(dir, 'inventory')
  expect(keys.privateJwk.kid).toBe('inventory-2')
  expect(keys.jwks.keys).toHaveLength(2)
  expect(keys.keks).toMatchObject({ current: 'k1' })
  expect(keys.keks.keys.k1).toHaveLength(32)
  expect(keys.cursorKey).toHaveLength(32)
})

test('a service without encryption keys runs until it asks for one', () => {
  rmSync(join(dir, 'kek.json'))
  const keys = loadKeys(dir, 'inventory')
  expect(() => keys.keks).toThrow(/kek.json in the keys directory is missing/)
})

test.each<[string, () => void]>([
  ['a private key that others can read', () => chmodSync(join(dir, 'inventory.jwk.json'), 0o640)],
  ['another service’s key', () => write('inventory.jwk.json', newServiceKey('billing').privateJwk)],
  [
    'a key that nobody trusts',
    () => write('inventory.jwk.json', newServiceKey('inventory').privateJwk),
  ],
  [
    'a public half that differs',
    () => write('services.jwks.json', { keys: [newServiceKey('inventory', 2).publicJwk] }),
  ],
  ['a missing key', () => rmSync(join(dir, 'inventory.jwk.json'))],
  ['no JSON', () => write('services.jwks.json', 'sesame-open')],
])('%s is refused at start', (_case, spoil) => {
  spoil()
  expect(() => loadKeys(dir, 'inventory')).toThrow(ConfigError)
  expect(() => loadKeys(dir, 'inventory')).not.toThrow(/sesame/)
})

test.each([
  ['a short key', { current: 'k1', keys: { k1: Buffer.alloc(16).toString('base64') } }],
  ['a current key that is not there', { current: 'k2', keys: { k1: key } }],
  ['a current key by inheritance', { current: 'toString', keys: { k1: key } }],
])('%s is refused', (_case, file) => {
  write('kek.json', file)
  expect(() => loadKeys(dir, 'inventory').keks).toThrow(ConfigError)
})

test('the service of a key is in its id', () => {
  expect(serviceOfKid('gateway-12')).toBe('gateway')
  expect(serviceOfKid('gateway')).toBeNull()
  expect(serviceOfKid('gateway-1-x')).toBeNull()
})
