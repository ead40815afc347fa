import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeClock } from './clock.ts'
import { gcra, intervalMicros } from './gcra.ts'
import { newUuid } from './ids.ts'
import { createLimiter } from './limiter.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { closeRedis, openRedis } from './pubsub.ts'
import { ownServer, type TestRedis, testRedis, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
let kit: TestRedis
let replicas: ReturnType<typeof openRedis>[]
beforeAll(async () => {
  kit = await testRedis()
  replicas = [openRedis(kit.url, log), openRedis(kit.url, log)]
  await Promise.all(replicas.map((it) => it.ping()))
})
afterAll(async () => {
  await Promise.all(replicas.map(closeRedis))
  await kit.drop()
})

function limiterOver(redis: ReturnType<typeof openRedis>, clock = fakeClock()) {
  const metrics = createMetrics({ service: 'test' })
  return { limiter: createLimiter({ redis, metrics, log, clock }), metrics, clock }
}

test('replicas together never let more through than the rate', async () => {
  const limiters = replicas.map((redis) => limiterOver(redis).limiter)
  const rate = { perMinute: 600, burst: 20 }
  const of = { class: 'query', subject: newUuid() } as const
  const start = performance.now()
  const decisions = await Promise.all(
    Array.from({ length: 400 }, (_, i) => limiters[i % 2]!.take(of, rate)),
  )
  const seconds = (performance.now() - start) / 1000
  const allowed = decisions.filter((it) => it.allowed).length
  expect(allowed).toBeGreaterThanOrEqual(20)
  expect(allowed).toBeLessThanOrEqual(20 + Math.ceil(seconds * 10))
  for (const it of decisions) {
    if (!it.allowed) expect(it.retryAfterSeconds).toBeGreaterThan(0)
    expect(it.retryAfterSeconds).toBeLessThanOrEqual(0.1)
  }
})

test('who waits as told is let through, by Redis’s clock', async () => {
  const { limiter } = limiterOver(replicas[0]!)
  const of = { class: 'query', subject: newUuid() } as const
  const rate = { perMinute: 1_200, burst: 1 }
  expect(await limiter.take(of, rate)).toMatchObject({ allowed: true, remaining: 0 })
  const { allowed, retryAfterSeconds } = await limiter.take(of, rate)
  expect(allowed).toBe(false)
  await new Promise((resolve) => setTimeout(resolve, Math.ceil(retryAfterSeconds * 1000) + 1))
  expect(await limiter.take(of, rate)).toMatchObject({ allowed: true })
})

test('of several subjects the first that is refused decides, and those after it are not counted', async () => {
  const { limiter } = limiterOver(replicas[0]!)
  const [own, all] = [newUuid(), newUuid()]
  const subjects = [
    { subject: own, rate: { perMinute: 1, burst: 2 } },
    { subject: all, rate: { perMinute: 1, burst: 10 } },
  ]
  const taken = []
  for (let i = 0; i < 5; i++) taken.push(await limiter.takeAll('query', subjects))
  expect(taken.map((it) => it.allowed)).toEqual([true, true, false, false, false])
  const { remaining } = await limiter.take({ class: 'query', subject: all }, subjects[1]!.rate)
  expect(remaining).toBe(7)

  const closed = { subject: newUuid(), rate: { perMinute: 0, burst: 0 } }
  const other = { subject: newUuid(), rate: { perMinute: 1, burst: 1 } }
  expect(await limiter.takeAll('query', [closed, other])).toMatchObject({ allowed: false })
  expect(await limiter.takeAll('query', [other, closed])).toMatchObject({ allowed: false })
  expect(await limiter.take({ class: 'query', ...other }, other.rate)).toMatchObject({
    allowed: false,
  })
})

test('units count as so many, and more than a burst as the burst, with Redis and without', async () => {
  const away = openRedis('redis://127.0.0.1:1', log)
  for (const redis of [replicas[0]!, away]) {
    const { limiter } = limiterOver(redis)
    const rate = { perMinute: 1, burst: 5 }
    const [one, other] = [newUuid(), newUuid()]
    const taken = async (subject: string, units: number) =>
      (await limiter.takeAll('query', [{ subject, rate }], units)).allowed
    expect(await taken(one, 3)).toBe(true)
    // What is refused is not counted.
    expect(await taken(one, 3)).toBe(false)
    expect(await taken(one, 2)).toBe(true)
    expect(await taken(one, 1)).toBe(false)
    expect(await taken(other, 1_000_000)).toBe(true)
    expect(await taken(other, 1)).toBe(false)
  }
  await closeRedis(away)
})

test('without Redis several subjects are limited in the same way', async () => {
  const away = openRedis('redis://127.0.0.1:1', log)
  const { limiter } = limiterOver(away)
  const subjects = [
    { subject: 'own', rate: { perMinute: 1, burst: 3 } },
    { subject: 'all', rate: { perMinute: 1, burst: 2 } },
  ]
  const taken = []
  for (let i = 0; i < 4; i++) taken.push((await limiter.takeAll('query', subjects)).allowed)
  await closeRedis(away)
  expect(taken).toEqual([true, true, false, false])
})

test('subjects and classes have budgets of their own, and they expire', async () => {
  const { limiter } = limiterOver(replicas[0]!)
  const subject = newUuid()
  const rate = { perMinute: 60, burst: 1 }
  expect(await limiter.take({ class: 'query', subject }, rate)).toMatchObject({ allowed: true })
  expect(await limiter.take({ class: 'query', subject }, rate)).toMatchObject({ allowed: false })
  expect(await limiter.take({ class: 'auth', subject }, rate)).toMatchObject({ allowed: true })
  const other = { class: 'query', subject: newUuid() } as const
  expect(await limiter.take(other, rate)).toMatchObject({ allowed: true })
  const left = await replicas[0]!.pttl(`rate:query:${subject}`)
  expect(left).toBeGreaterThan(0)
  expect(left).toBeLessThanOrEqual(1_000)
})

test('a rate of nothing lets nothing through, and what is no rate is refused', async () => {
  const { limiter } = limiterOver(replicas[0]!)
  const of = { class: 'query', subject: newUuid() } as const
  for (const rate of [
    { perMinute: 0, burst: 5 },
    { perMinute: 5, burst: 0 },
  ]) {
    expect(await limiter.take(of, rate)).toEqual({
      allowed: false,
      remaining: 0,
      retryAfterSeconds: Number.POSITIVE_INFINITY,
    })
  }
  for (const rate of [
    { perMinute: -1, burst: 1 },
    { perMinute: 1, burst: 0.5 },
    { perMinute: Number.NaN, burst: 1 },
  ]) {
    await expect(limiter.take(of, rate)).rejects.toThrow(RangeError)
  }
})

test('without Redis each replica limits on its own, counts it, and closes what must be', async () => {
  await using server = await ownServer('redis')
  const redis = openRedis(server.url, log)
  await redis.ping()
  const { limiter, metrics, clock } = limiterOver(redis)
  const of = { class: 'mutation', subject: newUuid() } as const
  const rate = { perMinute: 60, burst: 3 }
  await server.stop()
  const results = await Promise.all(Array.from({ length: 10 }, () => limiter.take(of, rate)))
  expect(results.filter((it) => it.allowed)).toHaveLength(3)
  clock.advance(1)
  expect(await limiter.take(of, rate)).toMatchObject({ allowed: true, remaining: 0 })
  expect(await limiter.take(of, rate)).toMatchObject({ allowed: false, retryAfterSeconds: 1 })
  const counted = await metrics.registry.getSingleMetric('berth_ratelimit_fail_open_total')?.get()
  expect(counted?.values).toMatchObject([{ value: 12, labels: { class: 'mutation' } }])
  for (const rateClass of ['auth', 'payment', 'terminal'] as const) {
    await expect(limiter.take({ class: rateClass, subject: 'x' }, rate)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
  }
  await server.start()
  await until(async () => {
    const auth = { class: 'auth', subject: newUuid() } as const
    expect(await limiter.take(auth, rate)).toMatchObject({ allowed: true })
  })
  await closeRedis(redis)
})

test('a Redis that is up but does not answer is treated as one that is away', async () => {
  await using server = await ownServer('redis')
  const redis = openRedis(server.url, log)
  await redis.ping()
  const { limiter } = limiterOver(redis)
  server.freeze()
  const start = performance.now()
  const of = { class: 'query', subject: 'x' } as const
  expect(await limiter.take(of, { perMinute: 60, burst: 1 })).toMatchObject({ allowed: true })
  await expect(
    limiter.take({ ...of, class: 'auth' }, { perMinute: 60, burst: 1 }),
  ).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(performance.now() - start).toBeLessThan(3_500)
  server.thaw()
  await closeRedis(redis)
})

test('over any span the algorithm lets through the burst and the average at most', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6_000 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.tuple(fc.nat({ max: 3_000 }), fc.integer({ min: 1, max: 60 })), {
        minLength: 1,
        maxLength: 100,
      }),
      (perMinute, burst, gaps) => {
        let now = 1_700_000_000_000_000
        let arrivalAt: number | undefined
        const allowedAt: number[] = []
        for (const [gap, units] of gaps) {
          now += gap * 1000
          const result = gcra({ perMinute, burst }, now, arrivalAt, units)
          if (result.decision.allowed) {
            for (let unit = 0; unit < Math.min(units, burst); unit++) allowedAt.push(now)
            arrivalAt = result.arrivalAt
          } else {
            // It promises neither too little nor too much.
            const wait = Math.round(result.decision.retryAfterSeconds * 1_000_000)
            const at = (micros: number) =>
              gcra({ perMinute, burst }, now + micros, arrivalAt, units)
            expect(at(wait).decision.allowed).toBe(true)
            expect(at(wait - 1).decision.allowed).toBe(false)
          }
        }
        for (const [i, from] of allowedAt.entries()) {
          for (const [j, until] of allowedAt.entries()) {
            if (j < i) continue
            const most = burst + (until - from) / intervalMicros({ perMinute, burst })
            expect(j - i + 1).toBeLessThanOrEqual(most)
          }
        }
      },
    ),
    { numRuns: 200 },
  )
})
