import { createActor } from '@berth/platform/actor'
import { fakeClock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { closeRedis, openRedis } from '@berth/platform/pubsub'
import { testRedis } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { CredentialRefused } from '../authentication/issuer.ts'
import { createSessionCache } from './cache.ts'
import { createSessionStore } from './store.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const scope = new AsyncDisposableStack()
let redis: ReturnType<typeof openRedis>

beforeAll(async () => {
  const server = scope.use(await testRedis())
  redis = scope.adopt(openRedis(server.url, log), closeRedis)
  await redis.ping()
})
beforeEach(async () => {
  await redis.flushdb()
})
afterAll(() => scope.disposeAsync())

const HASH = 'a'.repeat(64)
const IDLE_SECONDS = 1_800

/** Policy, as one session of it: what it says of it, and how often it was asked. */
function truth() {
  const session = {
    id: newId('ses'),
    issuer: 'https://issuer.example',
    subject: 'user',
    expiresIn: 40_000,
    idleIn: IDLE_SECONDS as number,
    refreshIn: null as number | null,
  }
  const it = {
    session,
    isLive: true,
    isDown: false,
    asked: 0,
    touched: 0,
    /** Answers that were read wait until it is called. */
    gate: Promise.resolve(),
    call: (async ({ name }: { name: string }) => {
      if (it.isDown) throw new DomainError('UPSTREAM_UNAVAILABLE', 'down')
      if (name === 'sessions.resolve') it.asked++
      else it.touched++
      const isLive = it.isLive
      const answer = { ...session }
      await it.gate
      if (!isLive) throw new DomainError('NOT_FOUND', 'none')
      return answer
    }) as never,
  }
  return it
}

function gatewayOf(policy: ReturnType<typeof truth>, clock = fakeClock()) {
  const due: string[] = []
  const store = createSessionStore({
    commands: { call: policy.call },
    cache: createSessionCache({ redis, clock, log }),
    idleSeconds: IDLE_SECONDS,
    onDue: (id) => void due.push(id),
    clock,
    log,
    metrics: createMetrics({ service: 'test' }),
  })
  return { ...store, clock, due }
}

const EVERYONE = { kind: 'everyone', id: '' } as const

test('a session is asked for once, then remembered here, then found in Redis', async () => {
  const policy = truth()
  const [one, other] = [gatewayOf(policy), gatewayOf(policy)]
  // Each begins its generation; then they share.
  await one.find(HASH)
  await other.find(HASH)
  one.clock.advance(6)
  await one.find(HASH)
  expect(policy.asked).toBe(2)
  one.clock.advance(6)
  await Promise.all([one.find(HASH), one.find(HASH), other.find(HASH)])
  expect(policy.asked).toBe(2)
  expect(await redis.ttl(`session:${HASH}`)).toBeLessThanOrEqual(30)
})

test('the actor of a person stays the same object for as long as they are the same', async () => {
  const store = gatewayOf(truth())
  const person = createActor({ kind: 'person', subject: newId('usr'), roles: ['member'] })
  const first = (await store.find(HASH)).presentedBy(person)
  store.clock.advance(6)
  expect((await store.find(HASH)).presentedBy(person)).toBe(first)
})

test('what has ended is asked for anew at once, whatever Redis still says', async () => {
  const policy = truth()
  const [one, other] = [gatewayOf(policy), gatewayOf(policy)]
  for (const it of [one, other, one, other]) {
    await it.find(HASH)
    it.clock.advance(6)
  }
  const stale = await redis.get(`session:${HASH}`)
  policy.isLive = false
  for (const it of [one, other]) {
    it.evict({ kind: 'credential', id: policy.session.id })
    await expect(Promise.resolve(it.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
  }
  // A gateway that was slow to write what it had read before, and one that begins now.
  await redis.set(`session:${HASH}`, stale ?? '', 'EX', 30)
  const late = gatewayOf(policy)
  for (const it of [one, other, late]) {
    it.clock.advance(6)
    await expect(Promise.resolve(it.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
  }
})

test('an answer that was on its way when the end was told is not kept', async () => {
  const policy = truth()
  const store = gatewayOf(policy)
  const { promise, resolve } = Promise.withResolvers<void>()
  policy.gate = promise
  const asked = store.find(HASH)
  await expect.poll(() => policy.asked).toBe(1)
  policy.isLive = false
  store.evict({ kind: 'credential', id: policy.session.id })
  resolve()
  await asked
  await expect(Promise.resolve(store.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
})

test('when it is not known who is concerned, nothing that was kept is believed', async () => {
  const policy = truth()
  const [one, other] = [gatewayOf(policy), gatewayOf(policy)]
  for (const it of [one, other]) await it.find(HASH)
  policy.isLive = false
  one.evict(EVERYONE)
  await expect(Promise.resolve(one.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
  // Nor by another gateway, which has not heard of it, once it looks again.
  other.clock.advance(6)
  await expect(Promise.resolve(other.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
})

test('what is idle by what is remembered may have been used elsewhere: policy decides', async () => {
  const policy = truth()
  policy.session.idleIn = 3
  const store = gatewayOf(policy)
  await store.find(HASH)
  store.clock.advance(4)
  policy.session.idleIn = IDLE_SECONDS
  await store.find(HASH)
  expect(policy.asked).toBe(2)
  policy.session.idleIn = 3
  store.evict(EVERYONE)
  await store.find(HASH)
  policy.isLive = false
  store.clock.advance(4)
  await expect(Promise.resolve(store.find(HASH))).rejects.toBeInstanceOf(CredentialRefused)
})

test('use is told about once a minute', async () => {
  const policy = truth()
  const store = gatewayOf(policy)
  for (let second = 0; second < 180; second += 3) {
    await store.find(HASH)
    store.used(HASH)
    store.clock.advance(3)
  }
  expect(policy.touched).toBe(2)
})

test('one that is due is told of when it is found', async () => {
  const policy = truth()
  policy.session.refreshIn = -1
  const store = gatewayOf(policy)
  await store.find(HASH)
  expect(store.due).toEqual([policy.session.id])
})

test('a policy that cannot be asked is no verdict', async () => {
  const policy = truth()
  policy.isDown = true
  const store = gatewayOf(policy)
  await expect(Promise.resolve(store.find(HASH))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})

test.each(['', 'null', '{', '{"generation":"1"}', '[]'])(
  'what is no session in Redis is passed over: %j',
  async (text) => {
    const policy = truth()
    const store = gatewayOf(policy)
    await store.find(HASH)
    await redis.set(`session:${HASH}`, text)
    store.clock.advance(6)
    expect((await store.find(HASH)).id).toBe(policy.session.id)
  },
)
