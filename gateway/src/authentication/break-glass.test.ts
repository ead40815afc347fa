import { startHttp } from '@berth/platform/http'
import { createLimiter } from '@berth/platform/limiter'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { exportJWK, generateKeyPair } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { breakGlass } from './break-glass.ts'

const WHO = { query: '{ viewer { roles } }' }
const PATH = '/internal/auth/jwks/refresh'
const SECRET = 'break-glass-0123456789-abcdefghijklmnop'

let platform: TestPlatform
let one: TestGateway
let two: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  const env = { BERTH_BREAK_GLASS_SECRET: SECRET }
  one = await platform.gateway({ env })
  two = await platform.gateway({ env })
})
beforeEach(async () => {
  await vi.waitFor(async () => expect(await platform.redis.zcard('gateways')).toBe(2), 10_000)
  const limits = await platform.redis.keys('*rate:break-glass:*')
  const { keyPrefix = '' } = platform.redis.options
  if (limits.length > 0) await platform.redis.del(...limits.map((it) => it.slice(keyPrefix.length)))
})
afterEach(() => platform.issuer.publish({ keys: [platform.issuer.publicJwk] }))
afterAll(() => platform[Symbol.asyncDispose]())

async function refresh(of: Pick<TestGateway, 'http'> = one, { secret = SECRET, body = '' } = {}) {
  const response = await fetch(`${of.http.url}${PATH}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}` },
    body,
  })
  const { status, headers } = response
  return { status, headers, body: (await response.json()) as Record<string, unknown> }
}

async function rotated() {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: `key-${Math.random()}`, alg: 'ES256' }
  platform.issuer.publish({ keys: [jwk] })
  return () => platform.issuer.token('user', { key: privateKey, header: { kid: jwk.kid } })
}

const ask = async (of: TestGateway, token: string) =>
  (await of.ask(WHO, { authorization: `Bearer ${token}` })).status

test('all gateways have fetched the keys when it answers: new ones are good, withdrawn ones are not', async () => {
  const old = await platform.issuer.token('user')
  for (const of of [one, two]) expect(await ask(of, old)).toBe(200)
  const token = await rotated()
  const { status, body, headers } = await refresh(one, { body: '{"reason":"rotation by hand"}' })
  expect({ status, body }).toEqual({
    status: 200,
    body: {
      refreshId: expect.any(String),
      keys: 1,
      replicas: { confirmed: 2, known: 2 },
    },
  })
  expect(headers.get('cache-control')).toBe('no-store')
  const anew = await token()
  for (const of of [one, two]) {
    expect(await ask(of, anew)).toBe(200)
    // Verified before, and remembered until now.
    expect(await ask(of, old)).toBe(401)
  }
})

test('an open connection ends with the key of its token', async () => {
  const closed = Promise.withResolvers<number>()
  const opened = Promise.withResolvers<void>()
  await refresh()
  const client = two.connect(
    { authorization: `Bearer ${await platform.issuer.token('user')}` },
    {
      connected: () => opened.resolve(),
      closed: (event) => closed.resolve((event as { code: number }).code),
    },
  )
  const sink = { next: () => undefined, error: () => undefined, complete: () => undefined }
  client.subscribe({ query: 'subscription { inbox { cursor } }' }, sink)
  await opened.promise
  await rotated()
  await refresh(one)
  expect(await closed.promise).toBe(4401)
})

test('it waits for a fetch that begins after the call, and joins none that is on its way', async () => {
  const before = platform.issuer.fetches()
  const { pass, answer } = platform.issuer.hold()
  const stuck = refresh(one)
  await vi.waitFor(() => expect(platform.issuer.fetches()).toBe(before + 2), 10_000)
  pass()
  const old = await platform.issuer.token('user')
  const token = await rotated()
  expect((await refresh(one)).status).toBe(200)
  for (const of of [one, two]) expect(await ask(of, await token())).toBe(200)
  // What those before it are told is of before the rotation, and comes too late to count.
  answer()
  expect((await stuck).status).toBe(200)
  expect(await ask(one, await token())).toBe(200)
  expect(await ask(one, old)).toBe(401)
})

test('without the secret nothing is done, and guesses are limited without limiting who knows it', async () => {
  const before = platform.issuer.fetches()
  for (const secret of ['', 'x', SECRET.slice(1), `${SECRET}x`]) {
    expect((await refresh(one, { secret })).status).toBe(401)
  }
  const guesses = await Promise.all(
    Array.from({ length: 20 }, () => refresh(one, { secret: 'no' })),
  )
  expect(new Set(guesses.map(({ status }) => status))).toEqual(new Set([401, 429]))
  expect(platform.issuer.fetches()).toBe(before)
  expect((await refresh(one)).status).toBe(200)
  expect(platform.logged.join('\n')).not.toContain(SECRET)
})

test('refreshes are limited, over all gateways', async () => {
  const answers = [await refresh(one), await refresh(two), await refresh(one), await refresh(two)]
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  expect(Number(answers[3]?.headers.get('retry-after'))).toBeGreaterThan(0)
})

test('without Redis it is limited all the same, by each gateway', async () => {
  const run = vi.fn(async () => ({
    refreshId: '1',
    keys: 1,
    replicas: { confirmed: 1, known: null },
  }))
  const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
  const metrics = createMetrics({ service: 'test' })
  const limiter = createLimiter({ redis: { status: 'end' } as never, metrics, log })
  const routes = breakGlass({ secret: SECRET, refreshes: { run }, limiter, metrics })
  const http = await startHttp({ host: '127.0.0.1', port: 0, log, metrics, routes })
  const answers = []
  for (let i = 0; i < 10; i++) answers.push((await refresh({ http })).status)
  await http.close()
  expect(answers.slice(0, 4)).toEqual([200, 200, 200, 429])
  expect(run.mock.calls.length).toBeLessThan(5)
})

test('a body is a reason, or nothing', async () => {
  expect((await refresh(one, { body: '{"reason":""}' })).status).toBe(400)
  expect((await refresh(one, { body: 'now' })).status).toBe(400)
})

test('without a secret there is no such route', async () => {
  const without = await platform.gateway()
  expect((await refresh(without)).status).toBe(404)
  expect((await refresh(without, { secret: '' })).status).toBe(404)
  await without.close()
})

test('an issuer that gives no keys is an error, and the last keys stay', async () => {
  const token = await platform.issuer.token('user')
  expect((await refresh(one)).status).toBe(200)
  platform.issuer.publish({ keys: [] })
  const { status, body } = await refresh(one)
  expect(status).toBe(502)
  expect(body).toMatchObject({ error: { code: 'UPSTREAM_UNAVAILABLE' } })
  expect(await ask(one, token)).toBe(200)
})

test('a gateway that missed the message hears of it within the time, by asking', async () => {
  const redis = platform.redis
  // Told to nobody: the feed alone has it.
  const concern = { kind: 'signing-key' as const, id: `refresh:${crypto.randomUUID()}` }
  const token = await rotated()
  await platform.concern(concern, { isLost: true })
  await vi.waitFor(async () => expect(await ask(two, await token())).toBe(200), 10_000)
  await vi.waitFor(
    async () => expect(await redis.scard(`confirmed:${concern.id.slice(8)}`)).toBe(2),
    10_000,
  )
})

test('when the others cannot be told it says so, though the keys were fetched here', async () => {
  const token = await rotated()
  await platform.without('policy', async () => {
    const { status, body } = await refresh(one)
    expect(status).toBe(503)
    expect(body).toMatchObject({
      error: { code: 'UNAVAILABLE', message: expect.stringContaining('repeat') },
    })
  })
  await vi.waitFor(async () => expect(await ask(one, await token())).toBe(200), 10_000)
})
