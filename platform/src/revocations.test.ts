import { afterAll, beforeAll, expect, test } from 'vitest'
import { fakeClock } from './clock.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { createHints, openRedis, policyInvalidateChannel, revocationChannel } from './pubsub.ts'
import { closeRedis } from './redis.ts'
import { type Concern, createRevocations, revocationMessage } from './revocations.ts'
import { ownServer, type TestRedis, testRedis, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const EVERYONE: Concern = { kind: 'everyone', id: '' }
const person = (n: number): Concern => ({ kind: 'person', id: `usr_${n}` })
const numbers = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i)

let kit: TestRedis
beforeAll(async () => {
  kit = await testRedis()
})
afterAll(() => kit.drop())

/** Nothing polls by itself within a test that is given this. */
const NEVER_MS = 600_000

/** Policy's part, and a follower of it over a Redis. */
async function rig({ url = kit.url, pollMs = NEVER_MS } = {}) {
  const scope = new AsyncDisposableStack()
  const redis = scope.adopt(openRedis(url, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const metrics = createMetrics({ service: 'test' })
  const clock = fakeClock()
  const told: Concern[] = []
  const policy = {
    concerns: [] as Concern[],
    /** Versions up to this one are not kept any more. */
    horizon: 0,
    isDown: false,
    reads: 0,
    /** What is read waits for this. */
    held: Promise.resolve(),
    append(...concerns: Concern[]) {
      policy.concerns.push(...concerns)
    },
    publish(after: number, to?: number): Promise<void> {
      const version: number = to ?? policy.concerns.length
      const concerns = policy.concerns.slice(after, version)
      return hints.publish(revocationChannel(), revocationMessage({ after, version, concerns }))
    },
  }
  const feed = scope.use(
    createRevocations({
      hints,
      pollMs,
      log,
      metrics,
      clock,
      read: async (after) => {
        policy.reads++
        if (policy.isDown) throw new Error('policy is away')
        const latest = policy.concerns.length
        const isComplete = after === null || (after >= policy.horizon && after <= latest)
        const concerns =
          after === null || !isComplete ? [] : policy.concerns.slice(after, after + 10)
        const version = isComplete && after !== null ? after + concerns.length : latest
        await policy.held
        return { version, concerns, isComplete }
      },
    }),
  )
  feed.subscribe((concern) => told.push(concern))
  return {
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
    policy,
    told,
    feed,
    hints,
    clock,
    /** Once it is known that messages are heard, and where the feed is. */
    async ready() {
      await until(() => expect(told).toContainEqual(EVERYONE))
      await until(() => expect(told).toContainEqual({ kind: 'policy', id: '*' }))
      await hints.publish(policyInvalidateChannel('ready'), '')
      await until(() => expect(told).toContainEqual({ kind: 'policy', id: 'ready' }))
      await until(async () => {
        const { reads } = policy
        await new Promise((resolve) => setTimeout(resolve, 20))
        expect(policy.reads).toBe(reads)
      })
      told.length = 0
    },
    async learnt(by: string) {
      const { values } = await metrics.counter('berth_revocations_total', '').get()
      return values.find(({ labels }) => labels.by === by)?.value ?? 0
    },
    async age() {
      const { values } = await metrics.gauge('berth_revocations_age_seconds', '').get()
      return values[0]?.value
    },
  }
}

test('what is told is heard at once, in order, and nothing is asked for it', async () => {
  await using it = await rig()
  await it.ready()
  const { reads } = it.policy
  it.policy.append(person(1), person(2))
  await it.policy.publish(0)
  await until(() => expect(it.told).toEqual([person(1), person(2)]))
  expect(it.policy.reads).toBe(reads)
  expect(await it.learnt('message')).toBe(2)
})

test('a lost message is healed by the poll', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  it.policy.append(person(1))
  await until(() => expect(it.told).toEqual([person(1)]))
  expect(await it.learnt('poll')).toBe(1)
})

test('a message that follows a lost one tells of both, in order, without a poll', async () => {
  await using it = await rig()
  await it.ready()
  it.policy.append(person(1), person(2))
  await it.policy.publish(1)
  await until(() => expect(it.told).toEqual([person(1), person(2)]))
})

test('messages that come twice, overlap or are late are told once', async () => {
  await using it = await rig()
  await it.ready()
  it.policy.append(...numbers(5).map(person))
  for (const [after, version] of [
    [0, 2],
    [0, 2],
    [1, 4],
    [0, 1],
    [3, 5],
    [0, 5],
  ] as const) {
    await it.policy.publish(after, version)
    // One a turn: a burst is coalesced to its last.
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await until(() => expect(it.told).toEqual(numbers(5).map(person)))
  await it.hints.publish(policyInvalidateChannel('after'), '')
  await until(() => expect(it.told).toHaveLength(6))
})

test('a burst of which most messages are coalesced away, longer than a page, is whole', async () => {
  await using it = await rig()
  await it.ready()
  for (const n of numbers(200)) {
    it.policy.append(person(n))
    void it.policy.publish(n - 1, n)
  }
  await until(() => expect(it.told).toEqual(numbers(200).map(person)))
})

test('messages that come while it is being read neither repeat nor hide any', async () => {
  await using it = await rig()
  await it.ready()
  const held = Promise.withResolvers<void>()
  const { reads } = it.policy
  it.policy.append(person(1), person(2))
  it.policy.held = held.promise
  await it.policy.publish(1) // A gap: it is read, and the answer takes its time.
  await until(() => expect(it.policy.reads).toBe(reads + 1))
  it.policy.append(person(3))
  await it.policy.publish(0, 1)
  await until(() => expect(it.told).toEqual([person(1)]))
  held.resolve()
  await until(() => expect(it.told).toEqual(numbers(3).map(person)))
})

test('no message can hide a change: one from the future concerns everyone, and is forgotten', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  const forged = revocationMessage({ after: 0, version: 1, concerns: [person(9)] })
  await it.hints.publish(revocationChannel(), forged)
  await until(() => expect(it.told).toEqual([person(9), EVERYONE]))
  it.policy.append(person(1))
  await until(() => expect(it.told.at(-1)).toEqual(person(1)))
})

test.each(['', 'null', '{}', '{"after":0,"version":2,"concerns":[{"kind":"nobody","id":""}]}'])(
  'a message that is none (%j) only makes it look',
  async (text) => {
    await using it = await rig()
    await it.ready()
    it.policy.append(person(1))
    await it.hints.publish(revocationChannel(), text)
    await until(() => expect(it.told).toEqual([person(1)]))
  },
)

test('a database that was set back, or has forgotten too much, concerns everyone', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  it.policy.append(...numbers(3).map(person))
  await until(() => expect(it.told).toHaveLength(3))
  it.policy.concerns.length = 1
  await until(() => expect(it.told.at(-1)).toEqual(EVERYONE))
  it.policy.isDown = true
  it.policy.append(...numbers(30).map(person))
  it.policy.horizon = 20
  it.policy.isDown = false
  it.told.length = 0
  await until(() => expect(it.told.at(0)).toEqual(EVERYONE))
  it.told.length = 0
  it.policy.append(person(99))
  await until(() => expect(it.told).toEqual([person(99)]))
})

test('while policy is away it keeps asking, and its age says so; then all is told', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  it.policy.isDown = true
  it.policy.append(person(1))
  it.clock.advance(42)
  await until(async () => expect(await it.age()).toBe(42))
  expect(it.told).toEqual([])
  it.policy.isDown = false
  await until(() => expect(it.told).toEqual([person(1)]))
  await until(async () => expect(await it.age()).toBe(0))
})

test('it is complete up to when it was asked, and not before the last page has been told', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  const before = it.clock.now().getTime()
  await until(() => expect(it.feed.completeAt).toBe(before))
  const whenTold = new Set<number>()
  it.policy.isDown = true
  it.clock.advance(7)
  it.feed.subscribe(() => whenTold.add(it.feed.completeAt))
  it.policy.append(...numbers(35).map(person))
  it.policy.isDown = false
  await until(() => expect(it.feed.completeAt).toBe(before + 7_000))
  expect(it.told).toHaveLength(35)
  expect([...whenTold]).toEqual([before])
})

test('a change of policies is told by its key, and of any when messages may be lost', async () => {
  await using it = await rig()
  await it.ready()
  await it.hints.publish(policyInvalidateChannel('authz.roles'), '7')
  await until(() => expect(it.told).toEqual([{ kind: 'policy', id: 'authz.roles' }]))
})

test('without Redis the poll tells; once it is back it is asked at once', async () => {
  await using server = await ownServer('redis')
  await using polling = await rig({ url: server.url, pollMs: 50 })
  await using waiting = await rig({ url: server.url })
  await polling.ready()
  await waiting.ready()
  await server.stop()
  polling.policy.append(person(1))
  waiting.policy.append(person(1))
  await until(() => expect(polling.told).toContainEqual(person(1)))
  expect(waiting.told).not.toContainEqual(person(1))
  waiting.told.length = 0
  await server.start()
  await until(() => expect(waiting.told).toContainEqual(person(1)))
  expect(waiting.told).toContainEqual({ kind: 'policy', id: '*' })
})

test('one listener that fails costs the others nothing; one that has ended hears nothing', async () => {
  await using it = await rig()
  const later: Concern[] = []
  it.feed.subscribe(() => {
    throw new Error('a bug')
  })
  const end = it.feed.subscribe((concern) => later.push(concern))
  await it.ready()
  later.length = 0
  it.policy.append(person(1), person(2))
  await it.policy.publish(0, 1)
  await until(() => expect(later).toEqual([person(1)]))
  end()
  await it.policy.publish(1, 2)
  await until(() => expect(it.told).toEqual([person(1), person(2)]))
  expect(later).toEqual([person(1)])
})
