import { expect, test } from 'vitest'
import { newId } from './ids.ts'
import { like, org, person, policyRig } from './test-kit/policy-rig.ts'

const unavailable = { code: 'UNAVAILABLE' }

test('what is granted to an authority is read once, and then known at once for all of its actions', async () => {
  const { client, policy } = policyRig()
  const asked = ['allocation:read', 'billing:read', 'billing:pay'].map((it) =>
    Promise.resolve(client.can(person, it)),
  )
  expect(await Promise.all(asked)).toEqual([true, true, false])
  expect(policy.reads).toEqual([{ kind: 'person', organizationId: org, roles: ['member'] }])
  expect(client.can(person, 'allocation:read')).toBe(true)
  expect(client.can(like(), 'allocation:read'), 'another person of the same authority').toBe(true)
  for (const action of ['allocation', 'allocation:*', '*', '', '__proto__', 'constructor']) {
    expect(client.can(person, action)).toBe(false)
  }
  expect(policy.reads).toHaveLength(1)
})

test('authorities that differ in anything share nothing', async () => {
  const { client, policy } = policyRig()
  const others = [
    like(),
    like({ organizationId: newId('org') }),
    like({ organizationId: null }),
    like({ roles: ['member', 'owner'] }),
    like({ roles: ['member,owner'] }),
    like({ roles: ['member","owner'] }),
    like({ kind: 'service', subject: null }),
  ]
  for (const it of others) await client.can(it, 'allocation:read')
  expect(policy.reads).toHaveLength(others.length)
})

test('an API key does what is granted to it within its scopes, and is refused beyond them before anything is asked', async () => {
  const { client, policy } = policyRig()
  const key = (...scopes: string[]) => like({ kind: 'api-key', subject: null, scopes })
  expect(client.can(key(), 'allocation:read')).toBe(false)
  expect(client.can(key('allocation:create', 'billing:*'), 'allocation:read')).toBe(false)
  expect(client.decide(key('billing:*'), 'allocation:read', {})).toBe(false)
  expect(policy.reads).toEqual([])
  expect(await client.can(key('allocation:*'), 'allocation:read')).toBe(true)
  expect(await client.can(key('*'), 'allocation:release'), 'no scope grants').toBe(false)
})

test('an action that depends on facts passes, and is decided by them each time; others need no question', async () => {
  const { client, policy } = policyRig()
  policy.dependent = ['allocation:create']
  expect(await client.can(person, 'allocation:create')).toBe(true)
  expect(client.decide(person, 'allocation:read', { gpuCount: 9 })).toBe(true)
  expect(client.decide(person, 'billing:pay', { gpuCount: 1 })).toBe(false)
  expect(await client.decide(person, 'allocation:create', { gpuCount: 1 })).toBe(true)
  expect(await client.decide(person, 'allocation:create', { gpuCount: 2 })).toBe(false)
  expect(policy.reads.at(-1)).toEqual({
    kind: 'person',
    organizationId: org,
    roles: ['member'],
    action: 'allocation:create',
    facts: [{ name: 'gpuCount', value: 2 }],
  })
  policy.isDown = true
  await expect(client.decide(person, 'allocation:create', { gpuCount: 1 })).rejects.toMatchObject(
    unavailable,
  )
})

test('values are kept by key, organization and person, and asked for once at a time', async () => {
  const { client, policy } = policyRig()
  policy.values['quota.gpus'] = 8
  await Promise.all([1, 2, 3].map(() => client.value('quota.gpus', { organizationId: org })))
  expect(client.value('quota.gpus', { organizationId: org })).toBe(8)
  const userId = newId('usr')
  await client.value('quota.gpus', { organizationId: org, userId })
  await client.value('quota.gpus')
  expect(policy.reads).toEqual([
    { keys: ['quota.gpus'], organizationId: org },
    { keys: ['quota.gpus'], organizationId: org, userId },
    { keys: ['quota.gpus'] },
  ])
  expect(await client.value('quota.none')).toBeUndefined()
  expect(client.value('quota.none'), 'that there is none is known as well').toBeUndefined()
})

test('an eviction holds for the very next decision, everywhere the key was kept', async () => {
  const { client, policy, tell } = policyRig()
  policy.values['quota.gpus'] = 8
  policy.values['quota.members'] = 8
  const scopes = [{}, { organizationId: org }, { organizationId: org, userId: newId('usr') }]
  for (const it of scopes) await client.value('quota.gpus', it)
  await client.value('quota.members')
  await client.can(person, 'allocation:read')
  policy.values['quota.gpus'] = 0
  tell('policy', 'quota.gpus')
  for (const it of scopes) expect(await client.value('quota.gpus', it)).toBe(0)
  expect(client.value('quota.members'), 'another policy').toBe(8)
  expect(client.can(person, 'allocation:read')).toBe(true)
})

test.each(['authz.roles', 'authz.rules'])('a change of %s evicts all grants', async (key) => {
  const { client, policy, tell } = policyRig()
  const others = [person, like({ organizationId: newId('org') })]
  for (const it of others) expect(await client.can(it, 'allocation:read')).toBe(true)
  policy.granted.member = []
  tell('policy', key)
  for (const it of others) expect(await client.can(it, 'allocation:read')).toBe(false)
})

test('a change in one organization evicts nothing of another', async () => {
  const { client, policy, tell } = policyRig()
  const other = like({ organizationId: newId('org') })
  const scopes = [org, other.organizationId].map((organizationId) => ({ organizationId }))
  policy.values.a = 1
  for (const it of scopes) await client.value('a', it)
  for (const it of [person, other]) await client.can(it, 'allocation:read')
  policy.values.a = 2
  policy.granted.member = []
  tell('policy', `a.${org}`)
  tell('policy', `authz.rules.${org}`)
  expect(client.value('a', scopes[1])).toBe(1)
  expect(client.can(other, 'allocation:read')).toBe(true)
  expect(await client.value('a', scopes[0])).toBe(2)
  expect(await client.value('a', { ...scopes[0], userId: newId('usr') })).toBe(2)
  expect(await client.can(person, 'allocation:read')).toBe(false)
  tell('policy', 'a')
  tell('policy', 'authz.rules')
  expect(await client.value('a', scopes[1])).toBe(2)
  expect(await client.can(other, 'allocation:read')).toBe(false)
})

test('what concerns everyone evicts all; what concerns a person or a credential evicts nothing', async () => {
  const { client, policy, tell } = policyRig()
  policy.values.a = 1
  await client.can(person, 'allocation:read')
  await client.value('a')
  tell('person', newId('usr'))
  tell('credential', newId('key'))
  expect(client.can(person, 'allocation:read')).toBe(true)
  policy.granted.member = []
  policy.values.a = 2
  tell('everyone', '')
  expect(await client.can(person, 'allocation:read')).toBe(false)
  expect(await client.value('a')).toBe(2)
})

test('who asks after an eviction is not given a read that began before it, nor is anyone later', async () => {
  const { client, policy, tell } = policyRig()
  const held = Promise.withResolvers<void>()
  policy.held = held.promise
  const before = client.can(person, 'allocation:read')
  policy.granted.member = []
  tell('policy', 'authz.roles')
  policy.held = Promise.resolve()
  expect(await client.can(person, 'allocation:read')).toBe(false)
  held.resolve()
  await before
  expect(client.can(person, 'allocation:read'), 'the slow one came last').toBe(false)
})

test('those who ask after an eviction share one read as well, whenever the one before it ends', async () => {
  const { client, policy, tell } = policyRig()
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  policy.held = first.promise
  const before = client.can(person, 'allocation:read')
  tell('policy', 'authz.roles')
  policy.held = second.promise
  const after = [client.can(person, 'allocation:read')]
  first.resolve()
  await before
  after.push(client.can(person, 'billing:read'))
  second.resolve()
  for (const it of after) expect(await it).toBe(true)
  expect(policy.reads).toHaveLength(2)
})

test('an eviction during a read that nobody follows is not lost', async () => {
  const { client, policy, tell } = policyRig()
  const held = Promise.withResolvers<void>()
  policy.held = held.promise
  policy.values.a = 1
  const before = client.value('a')
  policy.values.a = 2
  tell('policy', 'a')
  held.resolve()
  await before
  expect(await client.value('a')).toBe(2)
})

test('a flood of authorities, or of keys that change, takes no more room than there is', async () => {
  const { client, policy, tell } = policyRig()
  await client.can(person, 'allocation:read')
  const scope = { organizationId: org }
  policy.values.a = 1
  await client.value('a', scope)
  for (let i = 0; i < 10_100; i++) {
    await client.can(like({ organizationId: newId('org') }), 'allocation:read')
  }
  expect(client.value('a', scope), 'values are apart').toBe(1)
  policy.reads.length = 0
  await client.can(person, 'allocation:read')
  expect(policy.reads, 'the one not asked about for longest has gone').toHaveLength(1)
  policy.granted.member = []
  tell('policy', 'authz.roles')
  for (let i = 0; i < 5_000; i++) tell('policy', `key.${i}`)
  expect(await client.can(person, 'allocation:read'), 'forgotten for its number').toBe(false)
})

test('disposing ends the subscription', () => {
  const { client, listeners } = policyRig()
  expect(listeners.size).toBe(1)
  client[Symbol.dispose]()
  expect(listeners.size).toBe(0)
})
