import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { testDirectory } from '../servers/test-directory.ts'
import { loadKeys } from '../trusted-keys.ts'
import { writeKeys } from './keys.ts'

test('every service can load its keys, and knows the public keys of all', () => {
  using directory = testDirectory()
  writeKeys(directory.path, ['red', 'blue'])
  for (const service of ['red', 'blue']) {
    const keys = loadKeys(directory.path, service)
    expect(keys.privateJwk.kid).toBe(`${service}-1`)
    expect(keys.jwks.keys.map(({ kid }) => kid)).toEqual(['red-1', 'blue-1'])
    expect(keys.keks.keys[keys.keks.current]).toHaveLength(32)
    expect(keys.cursorKey).toHaveLength(32)
  }
})

test('keys that are there are kept; a new service gets its own', () => {
  using directory = testDirectory()
  const read = (name: string) => readFileSync(path.join(directory.path, name), 'utf8')
  writeKeys(directory.path, ['red'])
  const before = ['red.jwk.json', 'kek.json', 'cursor.json'].map(read)
  writeKeys(directory.path, ['red', 'blue'])
  expect(['red.jwk.json', 'kek.json', 'cursor.json'].map(read)).toEqual(before)
  expect(loadKeys(directory.path, 'blue').privateJwk.kid).toBe('blue-1')
})

test('a public key that was rotated out stays known', () => {
  using directory = testDirectory()
  writeKeys(directory.path, ['red'])
  const file = path.join(directory.path, 'red.jwk.json')
  const rotated = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...rotated, kid: 'red-2' }), { mode: 0o600 })
  writeKeys(directory.path, ['red'])
  expect(loadKeys(directory.path, 'red').jwks.keys.map(({ kid }) => kid)).toEqual([
    'red-2',
    'red-1',
  ])
})

test('private keys can be read by their owner alone, and no private part is published', () => {
  using directory = testDirectory()
  writeKeys(directory.path, ['red'])
  const open = readdirSync(directory.path).filter(
    (name) => statSync(path.join(directory.path, name)).mode & 0o077,
  )
  expect(open).toEqual(['services.jwks.json'])
  expect(readFileSync(path.join(directory.path, 'services.jwks.json'), 'utf8')).not.toMatch(/"d"/)
})
