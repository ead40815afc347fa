import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { requireDevelopment } from './config.ts'
import { type Issuer, startIssuer } from './issuer.ts'
import { type Person, people } from './people.ts'
import { signIn } from './sign-in.ts'

let directory: string
let issuer: Issuer
const errors = vi.fn()

async function start(port = 0): Promise<Issuer> {
  return startIssuer({ host: '127.0.0.1', port, stateDirectory: directory, log: { error: errors } })
}

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'issuer-'))
  for (const name of ['info', 'warn', 'error', 'log'] as const) vi.spyOn(console, name)
  issuer = await start()
})

afterEach(async () => {
  await issuer.close()
  await rm(directory, { recursive: true })
  for (const name of ['info', 'warn', 'error', 'log'] as const) {
    expect(vi.mocked(console[name])).not.toHaveBeenCalled()
  }
  expect(errors).not.toHaveBeenCalled()
  vi.restoreAllMocks()
})

async function discover(url: string): Promise<Record<string, string>> {
  return (await fetch(`${url}/.well-known/openid-configuration`)).json() as never
}

test.each(people.map(({ subject }) => subject))('signs %s in', async (person) => {
  const token = await signIn(issuer.url, person)
  const { issuer: iss, jwks_uri } = await discover(issuer.url)
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(jwks_uri ?? '')), {
    issuer: iss ?? '',
    audience: 'berth',
  })
  expect(payload.sub).toBe(person)
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(3_600)
  expect(payload.client_id).toBe('berth-cli')
})

test('a token outlives a restart of the issuer, whose keys only their owner reads', async () => {
  const token = await signIn(issuer.url, 'user')
  const { port } = new URL(issuer.url)
  await issuer.close()
  issuer = await start(Number(port))
  const { jwks_uri } = await discover(issuer.url)
  await jwtVerify(token, createRemoteJWKSet(new URL(jwks_uri ?? '')), { issuer: issuer.url })
  const { mode } = await stat(path.join(directory, 'signing.jwks.json'))
  expect(mode & 0o777).toBe(0o600)
})

test('two first starts at once use the same keys', async () => {
  const other = await mkdtemp(path.join(tmpdir(), 'issuer-'))
  const options = { host: '127.0.0.1', port: 0, stateDirectory: other, log: { error: errors } }
  const issuers = await Promise.all([startIssuer(options), startIssuer(options)])
  const tokens = await Promise.all(issuers.map(({ url }) => signIn(url, 'user')))
  expect(new Set(tokens.map((token) => decodeProtectedHeader(token).kid)).size).toBe(1)
  for (const it of issuers) await it.close()
  await rm(other, { recursive: true })
})

test('keys that cannot be read stop the start instead of being replaced', async () => {
  await writeFile(path.join(directory, 'signing.jwks.json'), '{')
  await expect(start()).rejects.toThrow('cannot be read')
})

test('a person who does not exist is not signed in', async () => {
  await expect(signIn(issuer.url, 'root' as Person)).rejects.toThrow('no code')
})

test('a sign-in without PKCE is refused', async () => {
  const authorization = new URLSearchParams({
    client_id: 'berth-cli',
    redirect_uri: 'http://127.0.0.1/callback',
    response_type: 'code',
    scope: 'openid',
  })
  const response = await fetch(`${issuer.url}/auth?${authorization}`, { redirect: 'manual' })
  expect(response.headers.get('location')).toContain('error=invalid_request')
})

test('a client of one’s own machine may wait on any port', async () => {
  const authorization = new URLSearchParams({
    client_id: 'berth-cli',
    redirect_uri: 'http://127.0.0.1:51234/callback',
    response_type: 'code',
    scope: 'openid',
    code_challenge: 'x'.repeat(43),
    code_challenge_method: 'S256',
  })
  const response = await fetch(`${issuer.url}/auth?${authorization}`, { redirect: 'manual' })
  expect(response.headers.get('location')).toMatch(/\/interaction\//)
})

test('a foreign redirect URI is refused on the page, not redirected to', async () => {
  const authorization = new URLSearchParams({
    client_id: 'berth-cli',
    redirect_uri: 'https://attacker.example/callback',
    response_type: 'code',
    scope: 'openid',
  })
  const response = await fetch(`${issuer.url}/auth?${authorization}`, { redirect: 'manual' })
  expect(response.status).toBe(400)
  expect(await response.text()).toContain('redirect_uri')
})

test('it answers to its own name only', async () => {
  const status = await new Promise((done, fail) => {
    const { port } = new URL(issuer.url)
    request({ port, host: '127.0.0.1', path: '/auth', headers: { host: 'attacker.example' } })
      .on('response', (response) => done(response.resume().statusCode))
      .on('error', fail)
      .end()
  })
  expect(status).toBe(421)
  expect((await fetch(`${issuer.url}/readyz`)).status).toBe(200)
})

test.each([
  ['production', '127.0.0.1'],
  ['development', '0.0.0.0'],
  ['development', '::'],
])('it does not start in %s on %s', (environment, host) => {
  expect(() => requireDevelopment(environment, host)).toThrow('development issuer')
})
