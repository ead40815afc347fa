import { afterAll, beforeAll, expect, test } from 'vitest'
import { createActor } from './actor.ts'
import { fakeClock } from './clock.ts'
import { DomainError } from './errors.ts'
import { newId } from './ids.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { createPolicyClient } from './policy-client.ts'
import { createHints, openRedis, policyInvalidateChannel, revocationChannel } from './pubsub.ts'
import { closeRedis } from './redis.ts'
import { type Concern, createRevocations, revocationMessage } from './revocations.ts'
import { ownServer, type TestRedis, testRedis, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const person = createActor({
  kind: 'person',
  subject: newId('usr'),
  organizationId: newId('org'),
  roles: ['member'],
})

/** Nothing polls by itself within a test that is given this. */
const NEVER_MS = 600_000

let kit: TestRedis
beforeAll(async () => {
  kit = await testRedis()
})
afterAll(() => kit.drop())

/** Policy's part, and clients of it, each with connections and a feed of its own. */
async function rig({ url = kit.url, pollMs = NEVER_MS, clients = 2 } = {}) {
  const scope = new AsyncDisposableStack()
  const clock = fakeClock()
  const policy = {
    concerns: [] as Concern[],
    granted: ['allocation:read', 'billing:read'],
    isDown: false,
    reads: 0,
  }
  const redis = scope.adopt(openRedis(url, log), closeRedis)
  const publisher = scope.adopt(createHints(redis, log), (it) => it.close())
  function reached<T>(answer: () => T): Promise<T> {
    return policy.isDown
      ? Promise.reject(new DomainError('UPSTREAM_UNAVAILABLE', 'policy is away'))
      : Promise.resolve(answer())
  }

  function open() {
    const own = scope.adopt(openRedis(url, log), closeRedis)
    const hints = scope.adopt(createHints(own, log), (it) => it.close())
    const metrics = createMetrics({ service: 'test' })
    const revocations = scope.use(
      createRevocations({
        hints,
        pollMs,
        log,
        metrics,
        clock,
        read: (after) =>
          reached(() => ({
            version: policy.concerns.length,
            concerns: after === null ? [] : policy.concerns.slice(after),
            isComplete: true,
          })),
      }),
    )
    const heard: Concern[] = []
    revocations.subscribe((concern) => heard.push(concern))
    const client = scope.use(
      createPolicyClient({
        source: {
          values: () => reached(() => ({ values: [] })),
          grants: () =>
            reached(() => {
              policy.reads++
              return { granted: policy.granted, dependent: [] }
            }),
          decide: () => reached(() => ({ isGranted: false })),
        },
        revocations,
        log,
        metrics,
        clock,
      }),
    )
    return { client, heard, revocations, can: () => client.can(person, 'allocation:read') }
  }

  const opened = Array.from({ length: clients }, open)
  return {
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
    clock,
    policy,
    clients: opened,
    publisher,
    /** As policy does: the change is committed, and then told. */
    async change(granted: string[], { isTold = true } = {}) {
      policy.granted = granted
      policy.concerns.push({ kind: 'policy', id: 'authz.roles' })
      if (isTold) await publisher.publish(policyInvalidateChannel('authz.roles'), '1')
    },
    /** Once each hears messages and knows its grants. */
    async ready() {
      for (const { heard, can } of opened) {
        await until(() => expect(heard).toContainEqual({ kind: 'everyone', id: '' }))
        await until(() => expect(heard).toContainEqual({ kind: 'policy', id: '*' }))
        await until(() => expect(can()).toBe(true))
      }
    },
  }
}

test('a change is seen by the next decision after its message, in every process', async () => {
  await using it = await rig()
  await it.ready()
  for (const granted of [[], ['allocation:read'], []]) {
    await it.change(granted)
    // Neither a poll nor time: the clock stands still, and nothing but the message tells of it.
    for (const { can } of it.clients) await until(() => expect(can()).toBe(granted.length > 0))
  }
})

test('the numbered change alone evicts as well', async () => {
  await using it = await rig()
  await it.ready()
  await it.change([], { isTold: false })
  const { concerns } = it.policy
  const message = revocationMessage({ after: 0, version: concerns.length, concerns })
  await it.publisher.publish(revocationChannel(), message)
  for (const { can } of it.clients) await until(() => expect(can()).toBe(false))
})

test('a lost message is healed by the poll, with no message at all and though no time passes', async () => {
  await using it = await rig({ pollMs: 50 })
  await it.ready()
  await it.change([], { isTold: false })
  for (const { can } of it.clients) await until(() => expect(can()).toBe(false))
})

test('when neither message nor poll comes, it is healed by its age: after three seconds', async () => {
  await using it = await rig()
  await it.ready()
  await it.change([], { isTold: false })
  it.clock.advance(2.9)
  for (const { can } of it.clients) expect(can()).toBe(true)
  it.clock.advance(0.1)
  for (const { can } of it.clients) expect(await can()).toBe(false)
})

test('without Redis decisions are as before, and changes come by the poll', async () => {
  await using server = await ownServer('redis')
  await using it = await rig({ url: server.url, pollMs: 50 })
  await it.ready()
  await server.stop()
  for (const { can } of it.clients) expect(await can()).toBe(true)
  await it.change([], { isTold: false })
  for (const { can } of it.clients) await until(() => expect(can()).toBe(false))
  await server.start()
  await it.change(['allocation:read'], { isTold: false })
  for (const { can } of it.clients) await until(() => expect(can()).toBe(true))
})

test('a Redis that comes back may have lost messages: everything is asked for again', async () => {
  await using server = await ownServer('redis')
  await using it = await rig({ url: server.url })
  await it.ready()
  await server.stop()
  await it.change([], { isTold: false })
  for (const { can } of it.clients) expect(can()).toBe(true)
  await server.start()
  for (const { can } of it.clients) await until(() => expect(can()).toBe(false))
})

test('without policy, what is critical is refused with UNAVAILABLE within 5 s, and read again when it is back', async () => {
  await using it = await rig({ pollMs: 50, clients: 1 })
  await it.ready()
  const [{ client, revocations }] = it.clients as [(typeof it.clients)[number]]
  const can = async (action: string) => client.can(person, action)
  it.clock.advance(1)
  await until(() => expect(revocations.completeAt).toBe(it.clock.now().getTime()))
  it.policy.isDown = true
  it.clock.advance(4)
  expect(await can('billing:read')).toBe(true)
  it.clock.advance(1)
  await expect(can('billing:read')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(await can('allocation:read')).toBe(true)
  it.policy.isDown = false
  await until(async () => expect(await can('billing:read')).toBe(true))
})
