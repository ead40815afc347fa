import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeClock } from './clock.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { createOneTimeTokens } from './one-time-token.ts'
import { closeRedis, openRedis } from './pubsub.ts'
import { ownServer, type TestRedis, testRedis, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
let kit: TestRedis
let redis: ReturnType<typeof openRedis>
beforeAll(async () => {
  kit = await testRedis()
  redis = openRedis(kit.url, log)
})
afterAll(async () => {
  await closeRedis(redis)
  await kit.drop()
})

type Session = { user: string }

function tokensFor(
  purpose: string,
  over = redis,
  options: { bootEpoch?: () => Promise<string> } = {},
) {
  const metrics = createMetrics({ service: 'test' })
  const clock = fakeClock(new Date())
  const tokens = createOneTimeTokens<Session>({ redis: over, purpose, metrics, clock, ...options })
  const counts = async () => {
    const metric = await metrics.registry.getSingleMetric('berth_one_time_tokens_total')?.get()
    return Object.fromEntries((metric?.values ?? []).map((it) => [it.labels.outcome, it.value]))
  }
  return { ...tokens, clock, counts }
}

test('of a hundred that take a token at once one gets the record', async () => {
  const other = openRedis(kit.url, log)
  const here = tokensFor('race')
  const there = tokensFor('race', other)
  const token = await here.mint({ user: 'u1' }, 60)
  const taken = await Promise.all(
    Array.from({ length: 100 }, (_, i) => (i % 2 ? here : there).take(token)),
  )
  expect(taken.filter((it) => it !== null)).toEqual([{ user: 'u1' }])
  const [a, b] = await Promise.all([here.counts(), there.counts()])
  expect((a.consumed_ok ?? 0) + (b.consumed_ok ?? 0)).toBe(1)
  expect((a.replay_rejected ?? 0) + (b.replay_rejected ?? 0)).toBe(99)
  await closeRedis(other)
})

test('a token that was never minted, or for another purpose, is nothing', async () => {
  const one = tokensFor('one')
  const token = await one.mint({ user: 'u' }, 60)
  expect(await tokensFor('two').take(token)).toBeNull()
  expect(await one.take('guess')).toBeNull()
  expect(await one.take(token)).toEqual({ user: 'u' })
})

test('the store knows the hash and not the token, and forgets it by itself', async () => {
  const token = await tokensFor('hashed').mint({ user: 'u' }, 60)
  const prefix = redis.options.keyPrefix ?? ''
  const keys = (await redis.keys(`${prefix}one-time:hashed:*`)) as string[]
  expect(keys).toHaveLength(1)
  expect(keys[0]).not.toContain(token)
  const left = await redis.pttl((keys[0] ?? '').slice(prefix.length))
  expect(left).toBeGreaterThan(0)
  expect(left).toBeLessThanOrEqual(60_000)
})

test('an expired token is refused by its own record, even if Redis still has it', async () => {
  const tokens = tokensFor('expiring')
  const token = await tokens.mint({ user: 'u' }, 60)
  tokens.clock.advance(60)
  expect(await tokens.take(token)).toBeNull()
  expect(await tokens.counts()).toEqual({ replay_rejected: 1 })
  await expect(tokens.mint({ user: 'u' }, 0)).rejects.toThrow(RangeError)
})

test('a snapshot from before revives no token, taken or not', async () => {
  await using server = await ownServer('redis')
  const own = openRedis(server.url, log)
  const tokens = tokensFor('revived', own)
  // The same without the guard shows that the records do come back.
  const unguarded = tokensFor('unguarded', own, { bootEpoch: async () => 'always the same' })
  const taken = await tokens.mint({ user: 'u' }, 600)
  const waiting = await tokens.mint({ user: 'v' }, 600)
  const control = await unguarded.mint({ user: 'w' }, 600)
  server.snapshot()
  expect(await tokens.take(taken)).toEqual({ user: 'u' })
  expect(await unguarded.take(control)).toEqual({ user: 'w' })
  await server.stop()
  server.restore()
  await server.start()
  await until(() => own.ping())
  expect(await unguarded.take(control)).toEqual({ user: 'w' })
  expect(await tokens.take(taken)).toBeNull()
  expect(await tokens.take(waiting)).toBeNull()
  const minted = await tokens.mint({ user: 'x' }, 60)
  expect(await tokens.take(minted)).toEqual({ user: 'x' })
  await closeRedis(own)
})

test('a Redis that is away is an error, and not a refusal', async () => {
  await using server = await ownServer('redis')
  const own = openRedis(server.url, log)
  const tokens = tokensFor('away', own)
  const token = await tokens.mint({ user: 'u' }, 60)
  await server.stop()
  await expect(tokens.take(token)).rejects.toThrow()
  expect(await tokens.counts()).toEqual({})
  await closeRedis(own)
})
