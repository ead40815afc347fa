import { fakeClock } from '@berth/platform/clock'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { errors, exportJWK, generateKeyPair, type JWK } from 'jose'
import { beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createIssuerKeys, type IssuerKeys } from './issuer-keys.ts'
import { type KeySet, parseKeySet } from './key-set.ts'
import { type KeySource, KeysMalformed } from './key-source.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const MINUTE = 60
let jwks: Record<'a' | 'b', JWK>
beforeAll(async () => {
  jwks = { a: await newJwk('a'), b: await newJwk('b') }
})

async function newJwk(kid: string): Promise<JWK> {
  const { publicKey } = await generateKeyPair('ES256', { extractable: true })
  return { ...(await exportJWK(publicKey)), kid }
}

let clock: ReturnType<typeof fakeClock>
let metrics: ReturnType<typeof createMetrics>
let fetchKeys: ReturnType<typeof vi.fn<KeySource['fetch']>>
let keys: IssuerKeys

beforeEach(() => {
  clock = fakeClock(new Date())
  metrics = createMetrics({ service: 'test' })
  fetchKeys = vi.fn<KeySource['fetch']>(() => setOf('a'))
  keys = createIssuerKeys({
    source: { fetch: fetchKeys },
    staleSeconds: 3_600,
    clock,
    log,
    metrics,
  })
})

function setOf(...kids: ('a' | 'b')[]): Promise<KeySet> {
  return parseKeySet({ keys: kids.map((kid) => jwks[kid]) })
}

const find = (kid?: string) =>
  keys.find({ alg: 'ES256', ...(kid === undefined ? {} : { kid }) }, {} as never)
const away = () => Promise.reject(new Error('ECONNREFUSED'))
const UNKNOWN = errors.JWKSNoMatchingKey
const UNAVAILABLE = { code: 'UNAVAILABLE' }

/** A fetch that is answered when the test says so. */
function held() {
  const { promise, resolve, reject } = Promise.withResolvers<KeySet>()
  fetchKeys.mockImplementationOnce(() => promise)
  return { answer: async (...kids: ('a' | 'b')[]) => resolve(await setOf(...kids)), reject }
}

test('they are fetched once, when they are first needed, for however many', async () => {
  const first = held()
  const all = Promise.all([find('a'), find('a'), find()])
  await first.answer('a')
  for (const found of await all) expect(found.ids).toContain('a')
  expect(fetchKeys).toHaveBeenCalledTimes(1)
})

test('a flood of unknown keys costs one fetch per cooldown, and never a known one', async () => {
  await find('a')
  clock.advance(31)
  for (let second = 0; second < 30; second++) {
    await Promise.all(Array.from({ length: 50 }, () => expect(find('x')).rejects.toThrow(UNKNOWN)))
    await find('a')
    clock.advance(0.9)
  }
  expect(fetchKeys).toHaveBeenCalledTimes(2)
  clock.advance(31)
  await expect(find('x')).rejects.toThrow(UNKNOWN)
  expect(fetchKeys).toHaveBeenCalledTimes(3)
})

test('a key that is new is found once the cooldown is over, and at once after a refresh', async () => {
  await find('a')
  fetchKeys.mockImplementation(() => setOf('a', 'b'))
  await expect(find('b')).rejects.toThrow(UNKNOWN)
  clock.advance(31)
  expect((await find('b')).ids).toContain('b')
  fetchKeys.mockImplementation(() => setOf('b'))
  await keys.refresh()
  await expect(find('a')).rejects.toThrow(UNKNOWN)
})

test('while the issuer is away they stay good for the window, and then nobody is judged', async () => {
  await find('a')
  fetchKeys.mockImplementation(away)
  clock.advance(10 * MINUTE)
  for (let minute = 10; minute < 70; minute++) {
    expect((await find('a')).ids).toContain('a')
    clock.advance(MINUTE)
  }
  await expect(find('a')).rejects.toMatchObject(UNAVAILABLE)
  expect(await metrics.registry.metrics()).toMatch(/berth_issuer_keys_stale_total\S* 60/)
  expect(await metrics.registry.metrics()).toMatch(/berth_issuer_keys_age_seconds\S* 4200/)
  fetchKeys.mockImplementation(() => setOf('a'))
  clock.advance(6)
  await find('a').catch(() => undefined)
  await vi.waitFor(async () => expect((await find('a')).ids).toContain('a'))
})

test('what is away is asked every few seconds, and only the first waits for it', async () => {
  await find('a')
  clock.advance(10 * MINUTE)
  fetchKeys.mockImplementation(away)
  await find('a')
  const { reject } = held()
  clock.advance(6)
  const before = fetchKeys.mock.calls.length
  // It does not answer, and these do not wait for it.
  await Promise.all(Array.from({ length: 20 }, () => find('a')))
  expect(fetchKeys).toHaveBeenCalledTimes(before + 1)
  reject(new Error('timeout'))
})

test('without keys nobody is judged, and the issuer is asked once a second', async () => {
  fetchKeys.mockImplementation(away)
  for (let i = 0; i < 10; i++) {
    await expect(find('a')).rejects.toMatchObject(UNAVAILABLE)
    clock.advance(0.2)
  }
  expect(fetchKeys.mock.calls.length).toBeLessThanOrEqual(3)
})

test('what an unknown key is cannot be known while the issuer is away: no verdict', async () => {
  await find('a')
  fetchKeys.mockImplementation(away)
  clock.advance(31)
  await expect(find('x')).rejects.toMatchObject(UNAVAILABLE)
  await expect(find('x')).rejects.toMatchObject(UNAVAILABLE)
  expect(fetchKeys).toHaveBeenCalledTimes(2)
  await find('a')
})

test('an answer that is no key set leaves the keys of before', async () => {
  await find('a')
  clock.advance(10 * MINUTE)
  fetchKeys.mockImplementation(() => Promise.reject(new KeysMalformed('no JSON')))
  expect((await find('a')).ids).toContain('a')
  const said = await metrics.registry.metrics()
  expect(said).toMatch(/fetches_total\{outcome="fetched"\S* 1/)
  expect(said).toMatch(/fetches_total\{outcome="malformed"\S* 1/)
})

test('a refresh never joins a fetch that began before it', async () => {
  const old = held()
  const first = find('b').catch((error: unknown) => error)
  // The key is withdrawn, and another one takes its place, while that one is on its way.
  fetchKeys.mockImplementation(() => setOf('b'))
  expect(await keys.refresh()).toBe(1)
  expect(fetchKeys).toHaveBeenCalledTimes(2)
  await expect(find('a')).rejects.toThrow(UNKNOWN)
  // What comes late is of before, and does not bring the withdrawn key back.
  await old.answer('a')
  await first
  await expect(find('a')).rejects.toThrow(UNKNOWN)
  expect((await find('b')).ids).toContain('b')
})

test('of refreshes at once each has a fetch of its own, and the one that began last has the last word', async () => {
  const [one, two] = [held(), held()]
  const first = keys.refresh()
  const second = keys.refresh()
  await two.answer('b')
  await second
  await one.answer('a')
  await first
  expect((await find('b')).ids).toContain('b')
  await expect(find('a')).rejects.toThrow(UNKNOWN)
})

test('a refresh that fails says so, and leaves the keys of before', async () => {
  await find('a')
  fetchKeys.mockImplementationOnce(away)
  await expect(keys.refresh()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  expect((await find('a')).ids).toContain('a')
})

test('what is distrusted is fetched before it is relied upon, by a fetch that begins later', async () => {
  const early = held()
  const first = find('a')
  keys.distrust()
  await early.answer('a')
  await first
  fetchKeys.mockImplementation(() => setOf('b'))
  await expect(find('a')).rejects.toThrow(UNKNOWN)
  expect(fetchKeys).toHaveBeenCalledTimes(2)
})

test('keys that are withdrawn are told, and those that stay are not', async () => {
  const told: string[] = []
  const end = keys.onWithdrawn((it) => told.push(it))
  fetchKeys.mockImplementation(() => setOf('a', 'b'))
  const { ids } = await find('a')
  fetchKeys.mockImplementation(() => setOf('b'))
  await keys.refresh()
  expect(told).toEqual([ids[0]])
  end()
  fetchKeys.mockImplementation(() => setOf('a'))
  await keys.refresh()
  expect(told).toHaveLength(1)
})
