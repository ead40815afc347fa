import { createActor } from '@berth/platform/actor'
import { fakeClock } from '@berth/platform/clock'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { AUDIENCE, openIssuer, type TestIssuer } from '../../test-subgraphs/issuer.ts'
import { CredentialRefused, createIssuer } from './issuer.ts'
import { createIssuerKeys } from './issuer-keys.ts'
import { createKeySource } from './key-source.ts'
import { createTokens, type Tokens } from './tokens.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
let issuer: TestIssuer
let clock: ReturnType<typeof fakeClock>
let verify: ReturnType<typeof vi.fn<(token: string) => unknown>>
let tokens: Tokens

beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer[Symbol.asyncDispose]())
beforeEach(() => {
  clock = fakeClock(new Date())
  const source = createKeySource({ issuer: issuer.url })
  const metrics = createMetrics({ service: 'test' })
  const keys = createIssuerKeys({ source, clock, log, metrics })
  const real = createIssuer({ issuer: issuer.url, audience: AUDIENCE, keys, clock })
  verify = vi.fn((token: string) => real.verify(token))
  tokens = createTokens({ issuer: { verify } as never, clock })
})

test('a token is verified once a minute, and known in between without a promise', async () => {
  const token = await issuer.token('user')
  const first = await tokens.verify(token)
  clock.advance(59)
  expect(tokens.verify(token)).toBe(first)
  expect(verify).toHaveBeenCalledTimes(1)
  clock.advance(2)
  await tokens.verify(token)
  expect(verify).toHaveBeenCalledTimes(2)
})

test('one that has expired meanwhile is refused, though it was known', async () => {
  const token = await issuer.token('user', { expiresIn: 20 })
  await tokens.verify(token)
  clock.advance(26)
  await expect(tokens.verify(token)).rejects.toBeInstanceOf(CredentialRefused)
})

test('a refused one is never known', async () => {
  const token = await issuer.token('user', { audience: 'other' })
  await expect(tokens.verify(token)).rejects.toBeInstanceOf(CredentialRefused)
  await expect(tokens.verify(token)).rejects.toBeInstanceOf(CredentialRefused)
  expect(verify).toHaveBeenCalledTimes(2)
})

test.each([
  ['signing-key', true],
  ['credential', true],
  ['everyone', true],
  ['person', false],
] as const)('after a concern of the kind %s it is verified anew: %s', async (kind, isAnew) => {
  const [token, other] = [await issuer.token('user'), await issuer.token('colleague')]
  const { credential, signingKeys } = await tokens.verify(token)
  await tokens.verify(other)
  expect(signingKeys).toContain('key-1')
  const ids = { 'signing-key': 'key-1', credential, everyone: '', person: 'usr_1' }
  tokens.evict({ kind, id: ids[kind] })
  await tokens.verify(token)
  expect(verify).toHaveBeenCalledTimes(isAnew ? 3 : 2)
  await tokens.verify(other)
  const isOtherAnew = isAnew && kind !== 'credential'
  expect(verify).toHaveBeenCalledTimes((isAnew ? 3 : 2) + (isOtherAnew ? 1 : 0))
})

test('what was being verified when its key was revoked is not kept', async () => {
  const token = await issuer.token('user')
  const verifying = tokens.verify(token)
  tokens.evict({ kind: 'signing-key', id: 'key-1' })
  await verifying
  await tokens.verify(token)
  expect(verify).toHaveBeenCalledTimes(2)
})

test('each token has a name of its own, which a second signature of it does not change', async () => {
  const claims = { issuedAt: Math.floor(Date.now() / 1000) - 5 }
  const [one, again, other] = [
    await issuer.token('user', claims),
    await issuer.token('user', claims),
    await issuer.token('user', { ...claims, expiresIn: 100 }),
  ]
  expect(again).not.toBe(one) // ECDSA is not deterministic: the claims are the same.
  const names = [one, again, other].map(async (it) => (await tokens.verify(it)).credential)
  const [first, second, third] = await Promise.all(names)
  expect(first).toMatch(/^jwt:[\w-]{32}$/)
  expect(second).toBe(first)
  expect(third).not.toBe(first)
  for (const token of [one, again, other]) {
    for (const part of token.split('.')) expect(first).not.toContain(part.slice(0, 8))
  }
})

test('who presents it is one object, for as long as it is the same person with the same roles', async () => {
  const token = await tokens.verify(await issuer.token('user'))
  const who = { kind: 'person', subject: newId('usr'), organizationId: newId('org') } as const
  const actor = token.presentedBy(createActor({ ...who, roles: ['member'] }))
  expect(actor).toMatchObject({ ...who, roles: ['member'], credential: token.credential })
  expect(token.presentedBy(createActor({ ...who, roles: ['member'] }))).toBe(actor)
  expect(token.presentedBy(createActor({ ...who, roles: ['viewer'] }))).not.toBe(actor)
})

test('10,000 are kept at most, the latest', async () => {
  let n = 0
  const many = createTokens({
    clock,
    issuer: {
      verify: async (text) => {
        n++
        return { iss: 'i', sub: text, exp: clock.now().getTime() / 1000 + 300, signingKeys: [] }
      },
    },
  })
  for (let i = 0; i <= 10_000; i++) await many.verify(`token.${i}.x`)
  await many.verify('token.10000.x')
  expect(n).toBe(10_001)
  await many.verify('token.0.x')
  expect(n).toBe(10_002)
})
