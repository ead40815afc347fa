import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { calculateJwkThumbprint, errors, exportJWK, generateKeyPair, type JWK } from 'jose'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { parseKeySet } from './key-set.ts'
import { createKeySource, KeysMalformed } from './key-source.ts'

let server: Server
let url: string
let jwk: JWK
let answers: Record<string, (response: ServerResponse) => void>
let asked: string[]

beforeAll(async () => {
  jwk = await newJwk('ES256', 'one')
  server = createServer((request, response) => {
    asked.push(request.url ?? '')
    const answer = answers[request.url ?? '']
    if (answer) answer(response)
    else response.writeHead(404).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => void server.close())
beforeEach(() => {
  asked = []
  answers = {
    '/.well-known/openid-configuration': json({ issuer: url, jwks_uri: `${url}/jwks` }),
    '/jwks': json({ keys: [jwk] }),
  }
})

async function newJwk(alg: string, kid: string, options = {}): Promise<JWK> {
  const { publicKey } = await generateKeyPair(alg, { extractable: true, ...options })
  return { ...(await exportJWK(publicKey)), kid }
}

function json(value: unknown) {
  return (response: ServerResponse) => void response.end(JSON.stringify(value))
}

const source = () => createKeySource({ issuer: url })
const find = async (set: ReturnType<typeof parseKeySet>, header: object) =>
  (await set).find({ alg: 'ES256', ...header }, {} as never)

test('keys are found by discovery, once, and again when that is asked for', async () => {
  const it = source()
  for (let i = 0; i < 2; i++) expect((await it.fetch()).keys).toHaveLength(1)
  expect(asked).toEqual(['/.well-known/openid-configuration', '/jwks', '/jwks'])
  answers['/.well-known/openid-configuration'] = json({ issuer: url, jwks_uri: `${url}/new` })
  answers['/new'] = json({ keys: [{ ...jwk, kid: 'two' }] })
  const moved = await it.fetch({ isRediscovered: true })
  expect(moved.keys[0]?.kid).toBe('two')
  expect((await it.fetch()).keys[0]?.kid).toBe('two')
})

test('a set whose address is given is not looked for', async () => {
  const it = createKeySource({ issuer: 'https://issuer.test', keysUrl: `${url}/jwks` })
  await it.fetch({ isRediscovered: true })
  expect(asked).toEqual(['/jwks'])
})

test.each<[string, string, (response: ServerResponse) => void]>([
  ['an empty answer', '/jwks', (it) => void it.end()],
  ['a page', '/jwks', (it) => void it.end('<html>')],
  ['no object', '/jwks', json([])],
  ['no keys', '/jwks', json({ keys: [] })],
  ['keys that are none', '/jwks', json({ keys: [1, 'a', null] })],
  ['more keys than any issuer has', '/jwks', (it) => json({ keys: Array(101).fill(jwk) })(it)],
  ['an endless answer', '/jwks', (it) => void it.end(`{"keys":[],"x":"${'x'.repeat(300_000)}"}`)],
  ['symmetric keys alone', '/jwks', json({ keys: [{ kty: 'oct', k: 'c2VjcmV0' }] })],
  ['private keys alone', '/jwks', (it) => json({ keys: [{ ...jwk, d: 'AAAA' }] })(it)],
  ['keys for encryption alone', '/jwks', (it) => json({ keys: [{ ...jwk, use: 'enc' }] })(it)],
  [
    'discovery of another issuer',
    '/.well-known/openid-configuration',
    (it) => json({ issuer: 'https://evil.test', jwks_uri: `${url}/jwks` })(it),
  ],
  [
    'discovery of a file',
    '/.well-known/openid-configuration',
    (it) => json({ issuer: url, jwks_uri: 'file:///etc/passwd' })(it),
  ],
])('%s is malformed', async (_what, path, answer) => {
  answers[path] = answer
  await expect(source().fetch()).rejects.toBeInstanceOf(KeysMalformed)
})

test.each<[string, (response: ServerResponse) => void]>([
  ['a redirect', (it) => void it.writeHead(302, { location: `${url}/elsewhere` }).end()],
  ['an error', (it) => void it.writeHead(500).end('{"keys":[]}')],
  ['a broken connection', (it) => void it.destroy()],
])('%s is no answer, and is not followed', async (_what, answer) => {
  answers['/jwks'] = answer
  answers['/elsewhere'] = json({ keys: [jwk] })
  await expect(source().fetch()).rejects.toThrow()
  expect(asked).not.toContain('/elsewhere')
})

test('keys of no use are left out of a set, and the others are taken', async () => {
  const weak = {
    kty: 'RSA',
    e: 'AQAB',
    kid: 'weak',
    n: Buffer.alloc(128, 0xff).toString('base64url'),
  }
  const [strong, okp] = [await newJwk('RS256', 'strong'), await newJwk('EdDSA', 'okp')]
  const all = [
    jwk,
    weak,
    strong,
    okp,
    { kty: 'oct', k: 'AA', kid: 'oct' },
    { kty: 'EC', kid: 'no' },
  ]
  const set = await parseKeySet({ keys: all })
  expect(set.keys.map(({ kid }) => kid)).toEqual(['one', 'strong', 'okp'])
})

test('a key is known by its thumbprint and every name that it has', async () => {
  const twice = { keys: [jwk, { ...jwk, kid: 'alias' }, await newJwk('ES256', 'other')] }
  const thumbprint = await calculateJwkThumbprint(jwk)
  expect((await find(parseKeySet(twice), { kid: 'alias' })).ids).toEqual([
    thumbprint,
    'one',
    'alias',
  ])
})

test('a token without a key id has the only key that there can be, and not one of several', async () => {
  const second = await newJwk('ES256', 'two')
  const other = await newJwk('EdDSA', 'three')
  expect((await find(parseKeySet({ keys: [jwk, other] }), {})).ids).toContain('one')
  await expect(find(parseKeySet({ keys: [jwk, second] }), {})).rejects.toThrow(
    errors.JWKSMultipleMatchingKeys,
  )
  await expect(find(parseKeySet({ keys: [jwk] }), { kid: 'two' })).rejects.toThrow(
    errors.JWKSNoMatchingKey,
  )
  // An algorithm that is not the key's.
  await expect(find(parseKeySet({ keys: [jwk] }), { kid: 'one', alg: 'RS256' })).rejects.toThrow(
    errors.JWKSNoMatchingKey,
  )
})
