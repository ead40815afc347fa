import { type Actor, narrow } from '@berth/platform/actor'
import { idToUuid, newId } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PolicyLevel } from './domain/policy-keys.ts'
import { createPolicyChanges } from './service/policy-changes.ts'
import { newOrganization, type Policy, type TestOrganization } from './test-organization.ts'
import { actors, startPolicy } from './test-policy.ts'
import { policyChanger, RATE_KEY } from './test-policy-changes.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
let change: ReturnType<typeof policyChanger>
beforeAll(async () => {
  policy = await startPolicy(scope)
  change = policyChanger(policy)
})
afterAll(() => scope.disposeAsync())

const rate = (perMinute: number, burst = 10) => ({ perMinute, burst })
const { operator } = actors

/** An organization that was given a ceiling of 1,000 a minute. */
async function granted(): Promise<TestOrganization> {
  const org = await newOrganization(policy)
  await change.set(operator, { level: 'GRANT', organizationId: org.id }, rate(1_000, 100))
  return org
}

test('an organization is given a ceiling, narrows itself and a member, and takes it back', async () => {
  const org = await granted()
  const { actor } = org.ADMIN
  const { userId } = org.MEMBER
  const own = { level: 'ORGANIZATION' } as const
  const of = { level: 'USER', userId } as const
  expect(await change.set(actor, own, rate(500))).toMatchObject({
    version: 1,
    effective: rate(500),
  })
  expect(await change.set(actor, of, rate(9))).toMatchObject({ version: 1, effective: rate(9) })
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(500))
  expect(await change.effective(RATE_KEY, org.id, userId)).toEqual(rate(9))
  expect(await change.effective(RATE_KEY, org.id, org.OWNER.userId)).toEqual(rate(500))
  const inOrganization = { ...own, organizationId: org.id }
  expect(
    await change.reset(actor, own, { expectedVersion: await change.versionOf(inOrganization) }),
  ).toMatchObject({ version: 2, effective: rate(1_000, 100) })
  expect(await change.reset(actor, own, { expectedVersion: 2 }), 'again').toMatchObject({
    version: 2,
  })
  expect(await change.effective(RATE_KEY, org.id, userId)).toEqual(rate(9))
})

test('every level is shown with its ceiling, its version, and who may set it', async () => {
  const org = await granted()
  await change.set(org.OWNER.actor, { level: 'ORGANIZATION' }, rate(500))
  const query = `{ policies(userId: "${org.MEMBER.userId}") {
    key description schema combination levels { level permission } effective
    settings { level value ceiling version updatedAt }
  } }`
  const { data, errors } = await policy.graphql(narrow(org.ADMIN.actor, 'ORGANIZATION'), query)
  expect(errors).toBeUndefined()
  const keys = data.policies.map((it: { key: string }) => it.key)
  expect(keys).toEqual(keys.toSorted())
  const shown = data.policies.find((it: { key: string }) => it.key === RATE_KEY)
  expect(shown).toMatchObject({
    combination: 'MINIMUM',
    schema: { type: 'object', required: ['perMinute', 'burst'] },
    effective: rate(500),
    levels: [
      { level: 'PLATFORM', permission: 'platform:policies' },
      { level: 'GRANT', permission: 'platform:policies' },
      { level: 'ORGANIZATION', permission: 'policy:manage' },
      { level: 'USER', permission: 'policy:manage' },
    ],
    settings: [
      { level: 'PLATFORM', ceiling: null },
      { level: 'GRANT', ceiling: null, value: rate(1_000, 100), version: 1 },
      { level: 'ORGANIZATION', ceiling: rate(1_000, 100), value: rate(500), version: 1 },
      { level: 'USER', ceiling: rate(500), value: null, version: 0, updatedAt: null },
    ],
  })
})

test('the history says who changed what, when and why, newest first, and goes by pages', async () => {
  const org = await granted()
  const { actor, userId } = org.ADMIN
  for (const perMinute of [10, 20, 30]) {
    const expectedVersion = perMinute / 10 - 1
    const reason = `to ${perMinute}`
    await change.set(actor, { level: 'ORGANIZATION' }, rate(perMinute), { expectedVersion, reason })
  }
  await change.reset(actor, { level: 'ORGANIZATION' }, { expectedVersion: 3, reason: 'enough' })
  const page = async (after: string) => {
    const { data } = await policy.graphql(
      org.OWNER.actor,
      `{ policy(key: "${RATE_KEY}") { history(level: ORGANIZATION, first: 3 ${after}) {
        nodes { version before after changedBy { id } reason at } pageInfo { hasNextPage endCursor }
      } } }`,
    )
    return data.policy.history
  }
  const first = await page('')
  expect(first.nodes).toEqual(
    [
      { version: 4, before: rate(30), after: null, reason: 'enough' },
      { version: 3, before: rate(20), after: rate(30), reason: 'to 30' },
      { version: 2, before: rate(10), after: rate(20), reason: 'to 20' },
    ].map((it) => ({ ...it, changedBy: { id: userId }, at: expect.any(String) })),
  )
  const second = await page(`, after: "${first.pageInfo.endCursor}"`)
  expect(second.nodes).toMatchObject([{ version: 1, before: null, after: rate(10) }])
  expect(second.pageInfo.hasNextPage).toBe(false)
})

test('a rollback is a new version, with the value of the old one', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const at = { level: 'ORGANIZATION' } as const
  await change.set(actor, at, rate(10), { expectedVersion: 0 })
  await change.set(actor, at, rate(20), { expectedVersion: 1 })
  await change.reset(actor, at, { expectedVersion: 2 })
  expect(await change.rollback(actor, at, 1, { expectedVersion: 3 })).toMatchObject({
    version: 4,
    effective: rate(10),
  })
  expect(await change.rollback(actor, at, 3, { expectedVersion: 4 }), 'to unset').toMatchObject({
    version: 5,
    effective: rate(1_000, 100),
  })
  for (const none of [6, 99]) {
    expect(await change.rollback(actor, at, none, { expectedVersion: 5 })).toMatchObject({
      code: 'NOT_FOUND',
    })
  }
  for (const wrong of [0, -1]) {
    expect(await change.rollback(actor, at, wrong, { expectedVersion: 5 })).toMatchObject({
      code: 'BAD_INPUT',
    })
  }
})

test('at the platform a reset gives the built-in value back, which the next release may replace', async () => {
  const at = { level: 'PLATFORM', key: 'quota.invitations' } as const
  expect(await change.set(operator, at, 7)).toMatchObject({ effective: 7 })
  expect(await change.reset(operator, at)).toMatchObject({ effective: 100 })
  const version = await change.versionOf(at)
  expect(await change.reset(operator, at), 'again').toMatchObject({ version })
})

test('each change is a line in the audit, with its reason, before and after, and its version', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const { userId } = org.MEMBER
  await change.set(actor, { level: 'USER', userId }, rate(5), {
    reason: 'a loop',
    expectedVersion: 0,
  })
  await change.reset(
    actor,
    { level: 'USER', userId },
    { reason: 'it is fixed', expectedVersion: 1 },
  )
  const rows = await policy.database.sql.query(
    `SELECT action, target, reason, facts, before, after FROM audit_events
     WHERE organization_id = $1::uuid AND action LIKE 'policy.%' ORDER BY id`,
    [idToUuid(org.id)],
  )
  const value = '{"burst":10,"perMinute":5}'
  expect(rows).toMatchObject([
    { action: 'policy.set', facts: { level: 'GRANT', version: 1 } },
    {
      action: 'policy.set',
      target: RATE_KEY,
      reason: 'a loop',
      facts: { level: 'USER', userId, version: 1 },
      before: null,
      after: { value },
    },
    { action: 'policy.reset', reason: 'it is fixed', before: { value }, after: null },
  ])
})

test('under one idempotency key a change is one version, though the version has moved on', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const at = { level: 'ORGANIZATION' } as const
  const headers = { 'idempotency-key': newId('cmd') }
  const once = () => change.set(actor, at, rate(50), { expectedVersion: 0 }, headers)
  expect(await once()).toMatchObject({ version: 1 })
  await change.set(actor, at, rate(60), { expectedVersion: 1 })
  expect(await once()).toMatchObject({ version: 1, effective: rate(60) })
  const other = await change.set(actor, at, rate(70), { expectedVersion: 0 }, headers)
  expect(other.code).toBe('IDEMPOTENCY_MISMATCH')
})

test('a change out of another version is refused, and names the one there is', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const at = { level: 'ORGANIZATION' } as const
  await change.set(actor, at, rate(50), { expectedVersion: 0 })
  for (const expectedVersion of [0, 2]) {
    const { code, message, extensions } = await change.set(actor, at, rate(60), { expectedVersion })
    expect({ code, current: extensions.currentVersion }).toEqual({ code: 'CONFLICT', current: 1 })
    expect(message).toContain('version 1')
  }
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(50))
})

test('of an owner and an admin who change one setting at once, one wins', async () => {
  const org = await granted()
  const at = { level: 'USER', userId: org.MEMBER.userId } as const
  for (const expectedVersion of [0, 1, 2]) {
    const outcomes = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) =>
        change.set(n % 2 ? org.OWNER.actor : org.ADMIN.actor, at, rate(n), { expectedVersion }),
      ),
    )
    expect(outcomes.filter(({ version }) => version === expectedVersion + 1)).toHaveLength(1)
    expect(outcomes.filter(({ code }) => code === 'CONFLICT')).toHaveLength(5)
  }
})

test.each(['', '   ', 'x'.repeat(501), 'two\nlines'])('the reason %j is none', async (reason) => {
  const org = await newOrganization(policy)
  const outcome = await change.set(org.OWNER.actor, { level: 'ORGANIZATION' }, rate(1), { reason })
  expect(outcome).toMatchObject({ code: 'BAD_INPUT', message: expect.stringContaining('reason') })
})

test.each<[string, Parameters<typeof change.set>[1], unknown, RegExp]>([
  ['no such key', { level: 'ORGANIZATION', key: 'ratelimit.none' }, rate(1), /`key`/],
  ['a level that it has not', { level: 'ORGANIZATION', key: 'authz.roles' }, {}, /`level`/],
  ['a value that is none', { level: 'ORGANIZATION' }, { perMinute: 1 }, /`value\.burst`/],
  ['a member without an id', { level: 'USER' }, rate(1), /`userId`/],
  [
    'an id where there is no member',
    { level: 'ORGANIZATION', userId: newId('usr') },
    rate(1),
    /`userId`/,
  ],
])('%s is bad input that says where', async (_what, at, value, message) => {
  const org = await newOrganization(policy)
  expect(await change.set(org.OWNER.actor, at, value, { expectedVersion: 0 })).toMatchObject({
    code: 'BAD_INPUT',
    message: expect.stringMatching(message),
  })
})

test('rules are set when whoever reads them has nothing against them, and not otherwise', async () => {
  const org = await newOrganization(policy)
  const { actor } = org.OWNER
  const set = (level: PolicyLevel, asker: Actor, problems: readonly string[]) =>
    createPolicyChanges({
      database: policy.database,
      policy: { can: () => true },
      hints: { publish: async () => undefined },
      validateRules: async () => problems,
    }).set(
      { actor: asker, idempotencyKey: null },
      { key: 'authz.rules', level, value: '// none', reason: 'a test', expectedVersion: 0 },
    )
  await expect(set('ORGANIZATION', actor, ['line 1: no', 'line 2: no'])).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: '`value`: line 1: no; line 2: no',
  })
  await expect(set('USER', actor, [])).rejects.toMatchObject({ code: 'BAD_INPUT' })
  expect(await set('ORGANIZATION', actor, [])).toMatchObject({ version: 1 })
  expect(await change.effective('authz.rules', org.id)).toEqual(['', '// none'])
  // The history has the text. The audit is never forgotten again, and people write what they like.
  const [row] = await policy.database.sql.query<{ after: object }>(
    `SELECT after FROM audit_events WHERE organization_id = $1::uuid AND target = 'authz.rules'`,
    [idToUuid(org.id)],
  )
  expect(row?.after).toEqual({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/), characters: 9 })
})

test('the database keeps the history whole, whoever writes', async () => {
  const org = await granted()
  await change.set(org.OWNER.actor, { level: 'ORGANIZATION' }, rate(50), { expectedVersion: 0 })
  const { sql } = policy.owner
  const [row] = await sql.query<{ id: string }>(
    `SELECT id FROM policy_values WHERE organization_id = $1::uuid AND level = 'ORGANIZATION'`,
    [idToUuid(org.id)],
  )
  const insert = `INSERT INTO policy_changes (setting_id, version, value, actor, reason) VALUES`
  for (const [constraint, text] of [
    ['policy_values_have_history', `UPDATE policy_values SET value = '{}' WHERE id = $1`],
    ['policy_values_have_history', `UPDATE policy_values SET version = 2 WHERE id = $1`],
    ['policy_changes_gapless', `${insert} ($1, 3, '{}', '{}', 'a gap')`],
    ['policy_changes_gapless', `${insert} ($1, 1, '{}', '{}', 'again')`],
    ['policy_values_have_history', `${insert} ($1, 2, '{}', '{}', 'what does not hold')`],
    ['policy_changes_setting_id_fkey', 'DELETE FROM policy_values WHERE id = $1'],
  ] as const) {
    await expect(sql.query(text, [row?.id]), text).rejects.toMatchObject({ constraint })
  }
  for (const text of [
    'UPDATE policy_changes SET reason = $1',
    'DELETE FROM policy_changes WHERE setting_id = $1',
    'DELETE FROM policy_values WHERE id = $1',
    `UPDATE policy_values SET level = 'GRANT' WHERE id = $1`,
  ]) {
    await expect(policy.database.sql.query(text, [row?.id]), text).rejects.toMatchObject({
      code: '42501',
    })
  }
})
