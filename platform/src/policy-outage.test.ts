import { expect, test } from 'vitest'
import { anonymous } from './actor.ts'
import { newId } from './ids.ts'
import { like, person, policyRig } from './test-kit/policy-rig.ts'

const unavailable = { code: 'UNAVAILABLE' }

test('a doubt makes it be read again, and what cannot be read is as it was last known', async () => {
  const { client, policy, tell } = policyRig()
  await client.can(person, 'allocation:read')
  policy.granted.member = ['billing:read']
  tell('policy', '*')
  expect(await client.can(person, 'allocation:read')).toBe(false)
  policy.isDown = true
  tell('policy', '*')
  expect(await client.can(person, 'billing:read')).toBe(true)
})

test('while the feed is heard of it is known for a minute; without it, for three seconds', async () => {
  const { client, policy, pass } = policyRig()
  await client.can(person, 'allocation:read')
  for (let second = 0; second < 59; second++) pass(1)
  expect(client.can(person, 'allocation:read')).toBe(true)
  pass(1)
  policy.granted.member = []
  expect(await client.can(person, 'allocation:read')).toBe(false)

  policy.granted.member = ['allocation:read']
  pass(2.9, { isHeard: false })
  expect(client.can(person, 'allocation:read')).toBe(false)
  pass(0.1, { isHeard: false })
  expect(await client.can(person, 'allocation:read'), 'a lost change, and no feed').toBe(true)
})

test('a clock that is set back makes nothing hold for longer', async () => {
  const { client, policy, pass } = policyRig()
  await client.can(person, 'billing:read')
  pass(-3_600)
  policy.granted.member = []
  for (let second = 0; second < 60; second++) pass(1)
  expect(await client.can(person, 'billing:read'), 'though the feed is heard').toBe(false)

  policy.granted.member = ['billing:read']
  pass(0, { isHeard: false })
  expect(await client.can(person, 'billing:read')).toBe(false)
  pass(-3_600, { isHeard: false })
  expect(await client.can(person, 'billing:read'), 'and no feed').toBe(true)
  policy.isDown = true
  pass(-3_600, { isHeard: false })
  await expect(client.can(person, 'billing:read')).rejects.toMatchObject(unavailable)
})

test('while policy is down, money, credentials and terminals are known for 5 s, all else for 5 minutes', async () => {
  const { client, policy, pass } = policyRig()
  const critical = [
    'billing:read',
    'billing:pay',
    'organization:keys',
    'organization:invite',
    'sshkey:manage',
    'terminal:open',
    'policy:manage',
    'platform:audit',
  ]
  const others = ['allocation:read', 'organization:read', 'node:read', 'billings:read']
  policy.granted.member = [...critical, ...others]
  policy.values.a = 1
  await client.can(person, 'allocation:read')
  await client.value('a')
  policy.isDown = true

  pass(4.9, { isHeard: false })
  for (const it of [...critical, ...others]) expect(await client.can(person, it)).toBe(true)
  pass(0.1, { isHeard: false })
  for (const it of critical) {
    await expect(client.can(person, it), it).rejects.toMatchObject(unavailable)
  }
  for (const it of others) expect(await client.can(person, it)).toBe(true)
  expect(await client.can(person, 'node:manage'), 'a refusal is known as well').toBe(false)
  pass(294.9, { isHeard: false })
  for (const it of others) expect(await client.can(person, it)).toBe(true)
  expect(await client.value('a')).toBe(1)
  pass(0.1, { isHeard: false })
  for (const it of others) await expect(client.can(person, it)).rejects.toMatchObject(unavailable)
  await expect(client.value('a')).rejects.toMatchObject(unavailable)

  policy.isDown = false
  pass(1, { isHeard: false })
  for (const it of [...critical, ...others]) expect(await client.can(person, it)).toBe(true)
})

test('grants that cannot be read are as last known, and certain, for as long as the feed is heard of', async () => {
  const { client, policy, pass } = policyRig()
  await client.can(person, 'billing:read')
  policy.isDown = true
  for (let second = 0; second < 600; second++) pass(1)
  expect(await client.can(person, 'billing:read')).toBe(true)
})

test('while policy is down, what was changed is not served as it was', async () => {
  const { client, policy, tell } = policyRig()
  await client.can(person, 'allocation:read')
  policy.isDown = true
  tell('policy', 'authz.roles')
  await expect(client.can(person, 'allocation:read')).rejects.toMatchObject(unavailable)
})

test('with nothing known it is UNAVAILABLE: neither granted nor refused for good; the anonymous are to sign in', async () => {
  const { client, policy, pass } = policyRig()
  policy.isDown = true
  for (const action of ['allocation:read', 'allocation:none']) {
    await expect(client.can(person, action)).rejects.toMatchObject(unavailable)
  }
  expect(await client.can(anonymous, 'allocation:read')).toBe(false)
  policy.isDown = false
  pass(1)
  expect(await client.can(person, 'allocation:read')).toBe(true)
})

test('a policy that answers nobody is asked once a second, and by all as soon as it answers', async () => {
  const { client, policy, pass } = policyRig()
  const others = Array.from({ length: 20 }, () => like({ organizationId: newId('org') }))
  const ask = () => Promise.allSettled(others.map(async (it) => client.can(it, 'allocation:read')))
  policy.isDown = true
  pass(10, { isHeard: false })
  await ask()
  policy.reads.length = 0
  for (let second = 0; second < 5; second++) {
    pass(1, { isHeard: false })
    await ask()
    await ask()
  }
  expect(policy.reads).toHaveLength(5)
  policy.isDown = false
  pass(1, { isHeard: false })
  await ask()
  const answers = await ask()
  expect(answers.every(({ status }) => status === 'fulfilled')).toBe(true)
})

test('one authority whose grants cannot be read costs the others nothing', async () => {
  const { client, policy } = policyRig()
  policy.isDown = true
  await expect(client.can(like({ roles: ['odd'] }), 'a:b')).rejects.toMatchObject(unavailable)
  policy.isDown = false
  expect(await client.can(person, 'allocation:read')).toBe(true)
})

test('it tells of itself in figures, and of nobody', async () => {
  const { client, policy, tell, pass, metric } = policyRig()
  await client.can(person, 'allocation:read')
  void client.can(person, 'allocation:read')
  void client.can(person, 'billing:read')
  await client.value('a')
  expect(await metric('berth_policy_hits_total')).toMatchObject({ grants: 2 })
  expect(await metric('berth_policy_misses_total')).toEqual({ grants: 1, values: 1 })
  tell('policy', 'a')
  tell('everyone', '')
  expect(await metric('berth_policy_invalidations_total')).toEqual({ '': 2 })
  expect(await metric('berth_policy_age_seconds'), 'nothing is kept').toEqual({ '': 0 })
  await client.can(person, 'allocation:read')
  pass(30)
  expect(await metric('berth_policy_age_seconds')).toEqual({ '': 0 })
  policy.isDown = true
  pass(42, { isHeard: false })
  expect(await metric('berth_policy_age_seconds')).toEqual({ '': 42 })
  await client.can(person, 'allocation:read')
  expect(await metric('berth_policy_stale_total')).toMatchObject({ grants: 1 })
})
