import { hash } from 'node:crypto'
import { newId } from '@berth/platform/ids'
import { formatApiKey } from '@berth/schema/api-key'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { API_KEYS, type KnownApiKey, PEOPLE, POLICIES } from '../../test-subgraphs/subgraphs.ts'
import { apiKey, createApiKeys } from './api-keys.ts'

const WHO = { query: '{ viewer { user { id } organization { id } roles } }' }
const [ORG, OTHER] = Object.keys(PEOPLE.user?.organizations ?? {}) as `org_${string}`[]

let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  // Guesses are limited by address, and these all come from one.
  const rate = JSON.stringify({ perMinute: 10_000, burst: 1_000 })
  await platform.redis.hset(POLICIES, 'ratelimit.auth', rate)
  gateway = await platform.gateway()
})
afterAll(() => platform[Symbol.asyncDispose]())

test('a key is its organization’s program: no person, its roles, its scopes', async () => {
  const { text, id } = await make({ scopes: ['allocation:read'] })
  const { status, body } = await ask(text)
  expect(status).toBe(200)
  expect(body.data?.viewer).toEqual({ user: null, organization: { id: ORG }, roles: ['admin'] })
  const { claims } = (await platform.seen()).at(-1) ?? {}
  expect(claims).toMatchObject({
    kind: 'api-key',
    org: ORG,
    roles: ['admin'],
    scopes: ['allocation:read'],
    cred: id,
  })
  expect(claims).not.toHaveProperty('sub')
})

test('mistyped keys, keys of elsewhere and made-up ones cost policy no question', async () => {
  const { text, secret } = await make()
  const before = await questions()
  const wrong = [
    text.replace(
      secret,
      secret.replace(/.$/, (it) => (it === 'A' ? 'B' : 'A')),
    ),
    text.slice(0, -1),
    `${text}0`,
    text.toUpperCase(),
    `berth_${'x'.repeat(400)}`,
    'berth_',
    formatApiKey({ environment: 'live', id: newId('key'), secret: 'x'.repeat(43) }),
    `berthinvite_${'0'.repeat(26)}_${'x'.repeat(43)}`,
  ]
  for (const it of wrong) expect((await ask(it)).status, it).toBe(401)
  expect(await questions()).toBe(before)
})

test('a key that is not good is 401; why is in the log, and the key is not', async () => {
  const known = await make()
  const unknown = textOf(newId('key'), 'y'.repeat(43))
  const wrong = textOf(known.id, 'z'.repeat(43))
  const expired = await make({ expiresAt: new Date(Date.now() - 1).toISOString() })
  const elsewhere = await make({ allowedCidrs: ['10.0.0.0/8', '2001:db8::/32'] })
  platform.logged.length = 0
  const answers = []
  for (const it of [unknown, wrong, expired.text, elsewhere.text]) answers.push(await ask(it))
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401])
  const told = new Set(answers.map(({ body }) => body.errors?.[0]?.message))
  expect([...told]).toEqual(['The credential is not valid: sign in again'])
  const log = platform.logged.join('')
  for (const reason of ['no such API key', 'has expired', 'address that is not allowed']) {
    expect(log).toContain(reason)
  }
  for (const secret of ['yyyyy', 'zzzzz', expired.secret, elsewhere.secret]) {
    expect(log).not.toContain(secret)
    expect(JSON.stringify(answers)).not.toContain(secret)
  }
})

test('its secret goes no further than the gateway', async () => {
  const { text, secret, id } = await make()
  await ask(text)
  const kept = (await platform.redis.hget(API_KEYS, id)) ?? ''
  expect(kept).not.toContain(secret)
  expect((await ask(text)).status).toBe(200)
})

test('a key acts for its own organization and for no other', async () => {
  const { text } = await make()
  expect((await ask(text, { 'berth-organization': ORG ?? '' })).status).toBe(200)
  const answer = await ask(text, { 'berth-organization': OTHER ?? '' })
  expect(answer.status).toBe(403)
  expect(answer.body.errors?.[0]?.extensions?.code).toBe('FORBIDDEN')
})

test('from a network of its list it is taken', async () => {
  const { text } = await make({ allowedCidrs: ['192.0.2.0/24', '127.0.0.0/8'] })
  expect((await ask(text)).status).toBe(200)
})

test.each([
  [['10.0.0.0/8'], '10.255.0.1', true],
  [['10.0.0.0/8'], '11.0.0.1', false],
  [['10.0.0.0/8'], '::ffff:10.1.2.3', true],
  [['10.0.0.0/8'], '::FFFF:11.1.2.3', false],
  [['::/0'], '10.0.0.1', false],
  [['::/0'], '::ffff:10.0.0.1', false],
  [['0.0.0.0/0'], '2001:db8::1', false],
  [['2001:db8::/32'], '2001:db8:1::1', true],
  [['2001:db8::/32'], '2001:db9::1', false],
  [['fe80::/10'], 'fe80::1%eth0', true],
  [['10.0.0.0/8', '192.0.2.7/32'], '192.0.2.7', true],
  [['0.0.0.0/0', '::/0'], 'unknown', false],
  [null, 'unknown', true],
])('a key for %j, presented from %s: %s', async (allowedCidrs, clientIp, isTaken) => {
  const resolver = apiKey({ apiKeys: answering({ ...ANSWER, allowedCidrs }) })
  const authorization = `bearer   ${textOf(newId('key'), 'x'.repeat(43))}`
  const resolved = resolver({ authorization, organizationId: undefined, clientIp })
  if (isTaken) expect((await resolved)?.actor.kind).toBe('api-key')
  else await expect(resolved).rejects.toThrow(/not allowed/)
})

test.each([
  undefined,
  'Bearer eyJhbGciOi',
  'Basic berth_x',
  'Bearer',
  'berth_test_x',
  'Bearer Berth_x',
])('%j is none of its business', async (authorization) => {
  const resolver = apiKey({ apiKeys: answering(ANSWER) })
  expect(await resolver({ authorization, organizationId: undefined, clientIp: '::1' })).toBeNull()
})

test('policy is asked once for many requests of one key at once', async () => {
  const { text } = await make()
  const before = await questions()
  await Promise.all(Array.from({ length: 20 }, () => ask(text)))
  expect(await questions()).toBe(before + 1)
})

test.each([
  ['told', false, 1_000],
  ['whose message was lost', true, 3_000],
])(
  'a revocation, %s, ends requests and open connections, and no other key’s',
  async (_what, isLost, bound) => {
    const [key, bystander] = [await make(), await make()]
    const [open, other] = [await connected(key.text), await connected(bystander.text)]
    expect((await ask(key.text)).status).toBe(200)
    await platform.redis.hdel(API_KEYS, key.id)
    await platform.concern({ kind: 'credential', id: key.id }, { isLost })
    const timing = { timeout: bound, interval: 10 }
    await vi.waitFor(() => expect(open.code).toBe(4401), timing)
    expect((await ask(key.text)).status).toBe(401)
    expect(other.code).toBeNull()
    expect((await ask(bystander.text)).status).toBe(200)
    await other.client.dispose()
  },
)

test('of two connections by one key the one whose address is no longer allowed ends', async () => {
  const asked: string[] = []
  const answer = { ...ANSWER, allowedCidrs: ['10.0.0.0/8'] }
  const resolver = apiKey({ apiKeys: answering(answer) })
  const { createRechecks } = await import('./rechecks.ts')
  const settled = new Map<string, string>()
  const rechecks = createRechecks<string, unknown>({
    ask: async (presented) => {
      asked.push(presented.clientIp)
      return resolver(presented)
    },
    settle: (item, { status }) => void settled.set(item, status),
  })
  const authorization = `Bearer ${textOf(newId('key'), 'x'.repeat(43))}`
  for (const clientIp of ['10.0.0.1', '11.0.0.1']) {
    rechecks.add(clientIp, { authorization, organizationId: undefined, clientIp })
  }
  await vi.waitFor(() => expect(settled.size).toBe(2))
  expect(Object.fromEntries(settled)).toEqual({ '10.0.0.1': 'fulfilled', '11.0.0.1': 'rejected' })
})

test('scopes that were taken away are gone from the next request', async () => {
  const key = await make({ scopes: ['allocation:read', 'billing:read'] })
  await ask(key.text)
  await make({ scopes: ['billing:read'] }, key)
  await platform.concern({ kind: 'credential', id: key.id })
  await vi.waitFor(
    async () => {
      await ask(key.text)
      expect((await platform.seen()).at(-1)?.claims.scopes).toEqual(['billing:read'])
    },
    { timeout: 1_000, interval: 20 },
  )
})

test('a connection ends with its key', async () => {
  const key = await make({ expiresAt: new Date(Date.now() + 700).toISOString() })
  const open = await connected(key.text)
  await vi.waitFor(() => expect(open.code).toBe(4401), { timeout: 5_000, interval: 20 })
  expect((await ask(key.text)).status).toBe(401)
})

test('while policy is away a key is not refused: it is 503, to be tried again', async () => {
  const { text } = await make()
  await platform.without('policy', async () => {
    const answer = await ask(text)
    expect(answer.status).toBe(503)
    expect(answer.body.errors?.[0]?.extensions?.code).toBe('UNAVAILABLE')
  })
  await vi.waitFor(async () => expect((await ask(text)).status).toBe(200), { timeout: 10_000 })
})

const ANSWER: KnownApiKey['answer'] = {
  organizationId: ORG ?? 'org_',
  roles: ['admin'],
  scopes: ['allocation:read'],
  allowedCidrs: null,
  expiresAt: '2999-01-01T00:00:00.000Z',
}

type Key = { id: `key_${string}`; secret: string; text: string }

/** A key that policy knows; the same with another answer, where there is one. */
async function make(answer: Partial<KnownApiKey['answer']> = {}, known?: Key): Promise<Key> {
  const id = known?.id ?? newId('key')
  const secret = known?.secret ?? hash('sha512', id, 'hex').slice(0, 43)
  const secretHash = hash('sha256', secret, 'base64url')
  const stored: KnownApiKey = { secretHash, answer: { ...ANSWER, ...answer } }
  await platform.redis.hset(API_KEYS, id, JSON.stringify(stored))
  return { id, secret, text: textOf(id, secret) }
}

function textOf(id: `key_${string}`, secret: string): string {
  return formatApiKey({ environment: 'test', id, secret })
}

function answering(answer: KnownApiKey['answer']) {
  const call = async () => answer
  return createApiKeys({ commands: { call: call as never }, environment: 'test' })
}

function ask(text: string, headers: Record<string, string> = {}) {
  return gateway.ask(WHO, { authorization: `Bearer ${text}`, ...headers })
}

async function questions(): Promise<number> {
  return Number(await platform.redis.get('apiKeys.resolve'))
}

/** A connection that is open with a stream on it, and the code that it was closed by. */
async function connected(text: string) {
  const closed: { code: number | null } = { code: null }
  const opened = Promise.withResolvers<void>()
  const client = gateway.connect(
    { authorization: `Bearer ${text}` },
    {
      connected: () => opened.resolve(),
      closed: (event) => {
        closed.code = (event as { code: number }).code
      },
    },
  )
  const sink = { next: () => undefined, error: () => undefined, complete: () => undefined }
  client.subscribe({ query: 'subscription { allocationUpdated { cursor } }' }, sink)
  await opened.promise
  return Object.assign(closed, { client })
}
