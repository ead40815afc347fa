import { expect, test, vi } from 'vitest'
import { anonymous, createActor } from './actor.ts'
import { fakeClock } from './clock.ts'
import { DomainError } from './errors.ts'
import { newId } from './ids.ts'
import { createLog } from './log.ts'
import { createPolicyClient, type PolicyRead } from './policy-client.ts'
import {
  type Channel,
  closeRedis,
  createHints,
  type OnHint,
  openRedis,
  policyInvalidateChannel,
} from './pubsub.ts'
import { testRedis } from './test-kit/index.ts'

const org = newId('org')
const person = createActor({
  kind: 'person',
  subject: newId('usr'),
  organizationId: org,
  roles: ['member'],
})

const unavailable = { code: 'UNAVAILABLE' }

function setup() {
  const clock = fakeClock()
  const policies: Record<string, unknown> = {
    'authz.roles': { member: ['allocation:create', 'image:*'], 'platform:operator': ['*'] },
  }
  const reads: { keys: string[]; organizationId?: string | undefined }[] = []
  let gate: Promise<unknown> = Promise.resolve()
  let isDown = false
  const read: PolicyRead = async (input) => {
    reads.push(input)
    if (isDown) throw new DomainError('UPSTREAM_UNAVAILABLE', 'policy does not answer')
    const values = input.keys
      .filter((key) => Object.hasOwn(policies, key))
      .map((key) => ({ key, value: structuredClone(policies[key]) }))
    await gate
    return { values }
  }
  let hear: OnHint = () => undefined
  const end = vi.fn()
  const hints = {
    subscribe(channel: Channel, onHint: OnHint) {
      expect(channel).toBe('policy.invalidate.*')
      hear = onHint
      return end
    },
  }
  const log = createLog({ service: 's', instance: 's-1', level: 'silent' })
  const client = createPolicyClient({ read, hints, log, clock, maxAgeSeconds: 2 })
  return {
    client,
    clock,
    policies,
    reads,
    end,
    down: (value: boolean) => {
      isDown = value
    },
    hold: (promise: Promise<unknown>) => {
      gate = promise
    },
    invalidate: (key: string) => hear('7', policyInvalidateChannel(key)),
    missed: () => hear(null, null),
  }
}

test('a role grants its actions, by name and by kind, and nothing else', async () => {
  const { client } = setup()
  expect(await client.can(person, 'allocation:create')).toBe(true)
  expect(await client.can(person, 'image:delete')).toBe(true)
  for (const action of [
    'allocation:release',
    'allocation:create:x',
    'imagex:read',
    'image',
    '*',
    '',
  ]) {
    expect(await client.can(person, action)).toBe(false)
  }
  for (const role of ['owner', 'constructor', '__proto__']) {
    expect(await client.can(createActor({ kind: 'person', roles: [role] }), 'image:read')).toBe(
      false,
    )
  }
})

test('an API key does what its roles grant, within its scopes', async () => {
  const { client } = setup()
  const key = (scopes: string[], roles = ['member']) =>
    createActor({ kind: 'api-key', roles, scopes })
  expect(await client.can(key(['image:*']), 'image:read')).toBe(true)
  expect(await client.can(key(['image:*']), 'allocation:create')).toBe(false)
  expect(await client.can(key([]), 'image:read')).toBe(false)
  expect(await client.can(key(['*'], []), 'image:read')).toBe(false)
})

test('values are cached per key and organization, and asked for once at a time', async () => {
  const { client, policies, reads } = setup()
  policies['quota.gpus'] = 8
  await Promise.all([1, 2, 3].map(() => client.value('quota.gpus', { organizationId: org })))
  expect(await client.value('quota.gpus', { organizationId: org })).toBe(8)
  expect(reads).toHaveLength(1)
  expect(reads[0]).toEqual({ keys: ['quota.gpus'], organizationId: org })
  await client.value('quota.gpus')
  expect(reads[1]).toEqual({ keys: ['quota.gpus'] })
  expect(await client.value('quota.none')).toBeUndefined()
})

test('an invalidation holds for the very next decision, everywhere the key was cached', async () => {
  const { client, policies, invalidate } = setup()
  policies['quota.gpus'] = 8
  await client.value('quota.gpus', { organizationId: org })
  await client.value('quota.gpus')
  policies['quota.gpus'] = 0
  expect(await client.value('quota.gpus')).toBe(8)
  invalidate('quota.gpus')
  expect(await client.value('quota.gpus', { organizationId: org })).toBe(0)
  expect(await client.value('quota.gpus')).toBe(0)
})

test('a read that an invalidation overtakes does not bring the old value back', async () => {
  const { client, policies, hold, invalidate } = setup()
  policies['quota.gpus'] = 8
  const held = Promise.withResolvers<void>()
  hold(held.promise)
  const before = client.value('quota.gpus')
  policies['quota.gpus'] = 0
  invalidate('quota.gpus')
  hold(Promise.resolve())
  expect(await client.value('quota.gpus')).toBe(0)
  held.resolve()
  await before
  expect(await client.value('quota.gpus')).toBe(0)
})

test('a lost invalidation is healed within the greatest age, and at once when the feed tells of a gap', async () => {
  const { client, clock, policies, missed } = setup()
  policies['quota.gpus'] = 8
  await client.value('quota.gpus')
  policies['quota.gpus'] = 4
  clock.advance(1.9)
  expect(await client.value('quota.gpus')).toBe(8)
  clock.advance(0.2)
  expect(await client.value('quota.gpus')).toBe(4)
  policies['quota.gpus'] = 2
  missed()
  expect(await client.value('quota.gpus')).toBe(2)
})

test('while policy is down, what is known serves for five minutes, and then it is UNAVAILABLE', async () => {
  const { client, clock, reads, down } = setup()
  expect(await client.can(person, 'image:read')).toBe(true)
  down(true)
  clock.advance(200)
  expect(await client.can(person, 'image:read')).toBe(true)
  const asked = reads.length
  expect(await client.can(person, 'image:read')).toBe(true)
  expect(reads).toHaveLength(asked)
  clock.advance(101)
  await expect(client.can(person, 'image:read')).rejects.toMatchObject(unavailable)
  await expect(client.value('authz.roles')).rejects.toMatchObject(unavailable)
  down(false)
  clock.advance(2)
  expect(await client.can(person, 'image:read')).toBe(true)
})

test('while policy is down, what was changed is not served as it was', async () => {
  const { client, down, invalidate } = setup()
  expect(await client.can(person, 'image:read')).toBe(true)
  down(true)
  invalidate('authz.roles')
  await expect(client.can(person, 'image:read')).rejects.toMatchObject(unavailable)
})

test('with nothing known it is UNAVAILABLE: neither granted nor refused for good', async () => {
  const { client, down, clock } = setup()
  down(true)
  for (const action of ['image:read', 'image:none']) {
    await expect(client.can(person, action)).rejects.toMatchObject(unavailable)
  }
  expect(await client.can(anonymous, 'image:read'), 'who has no role needs no policy').toBe(false)
  down(false)
  clock.advance(2)
  expect(await client.can(person, 'image:read')).toBe(true)
})

test('roles are the platform’s: people of a hundred organizations are one read', async () => {
  const { client, reads, clock } = setup()
  const people = Array.from({ length: 100 }, () =>
    createActor({ kind: 'person', organizationId: newId('org'), roles: ['member'] }),
  )
  for (const _ of [1, 2]) {
    reads.length = 0
    for (const it of people) expect(await client.can(it, 'image:read')).toBe(true)
    expect(reads).toEqual([{ keys: ['authz.roles'] }])
    clock.advance(3)
  }
})

test('a value that is no set of roles, or none at all, grants nothing', async () => {
  const { client, policies, clock } = setup()
  policies['authz.roles'] = { member: '*' }
  clock.advance(5)
  expect(await client.can(person, 'image:read')).toBe(false)
  delete policies['authz.roles']
  clock.advance(5)
  expect(await client.can(person, 'image:read')).toBe(false)
})

test('disposing ends the subscription', () => {
  const { client, end } = setup()
  client[Symbol.dispose]()
  expect(end).toHaveBeenCalledOnce()
})

test('over a real Redis, a change is seen by the next decision after its message', async () => {
  await using redisServer = await testRedis()
  const log = createLog({ service: 's', instance: 's-1', level: 'silent' })
  const redis = openRedis(redisServer.url, log)
  const hints = createHints(redis, log)
  let gpus = 8
  const read: PolicyRead = async () => ({ values: [{ key: 'quota.gpus', value: gpus }] })
  // The clock stands still: nothing but the message can make it read again.
  const client = createPolicyClient({ read, hints, log, clock: fakeClock() })
  expect(await client.value('quota.gpus')).toBe(8)
  gpus = 0
  await hints.publish(policyInvalidateChannel('quota.gpus'), '2')
  await expect.poll(() => client.value('quota.gpus')).toBe(0)
  client[Symbol.dispose]()
  await hints.close()
  await closeRedis(redis)
})
