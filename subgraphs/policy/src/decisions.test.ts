import type { Actor } from '@berth/platform/actor'
import { idToUuid, newUuid } from '@berth/platform/ids'
import { decideAction, readGrants } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { newOrganization, type Policy, type TestOrganization } from './test-organization.ts'
import { actors, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
let acme: TestOrganization
let ask: ReturnType<Policy['commandsOf']>

beforeAll(async () => {
  policy = await startPolicy(scope)
  ask = policy.commandsOf('allocations')
})
afterAll(() => scope.disposeAsync())
beforeEach(async () => {
  await setRules(actors.operator, 'PLATFORM', '')
  acme = await newOrganization(policy)
})

const by = () => ({ commandId: newUuid(), timeoutMs: 30_000 })
const facts = (gpuCount: number) => [
  { name: 'gpuModel', value: 'h100-sxm5-80gb' },
  { name: 'gpuCount', value: gpuCount },
  { name: 'region', value: 'any' },
]
const cap = `forbid(principal, action == Action::"allocation:create", resource)
  when { context.gpuCount > 1 };`
const everything = 'permit(principal, action, resource);'
const freeze = 'forbid(principal, action == Action::"allocation:create", resource);'

async function versionOf(actor: Actor, level: string): Promise<number> {
  const { data } = await policy.graphql(
    actor,
    '{ policy(key: "authz.rules") { settings { level version } } }',
  )
  const settings: { level: string; version: number }[] = data?.policy?.settings ?? []
  return settings.find((it) => it.level === level)?.version ?? 0
}

async function setRules(actor: Actor, level: string, rules: string) {
  const { errors } = await policy.graphql(
    actor,
    'mutation ($input: PolicySetInput!) { policySet(input: $input) { __typename } }',
    {
      input: {
        key: 'authz.rules',
        level,
        value: rules,
        expectedVersion: await versionOf(actor, level),
        reason: 'a test',
      },
    },
  )
  return errors?.[0] ?? null
}

async function decides(roles: string[], gpuCount: number, organizationId = acme.id) {
  const input = {
    kind: 'person',
    organizationId,
    roles,
    action: 'allocation:create',
    facts: facts(gpuCount),
  } as const
  return (await ask.call(decideAction, { ...input, facts: [...input.facts] }, by())).isGranted
}

const grants = (roles: string[], organizationId: TestOrganization['id'] | null = acme.id) =>
  ask.call(readGrants, { kind: 'person', organizationId, roles }, by())

test('without rules the roles decide, and nothing depends on facts', async () => {
  const owner = await grants(['owner'])
  expect(owner.granted).toContain('allocation:create')
  expect(owner.dependent).toEqual([])
  expect((await grants(['viewer'])).granted.sort()).toEqual([
    'allocation:read',
    'billing:read',
    'inbox:read',
    'organization:read',
  ])
  expect((await grants(['platform:operator'], null)).granted).toContain('platform:decisions')
  expect((await grants([], null)).granted).toEqual([])
})

test('a rule that an owner sets decides the next time that it is asked, by its facts', async () => {
  expect(await decides(['owner'], 2)).toBe(true)
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', cap)).toBeNull()
  expect(await decides(['owner'], 2)).toBe(false)
  expect(await decides(['owner'], 1)).toBe(true)
  expect((await grants(['owner'])).dependent).toEqual(['allocation:create'])
  const other = await newOrganization(policy)
  expect(await decides(['owner'], 2, other.id), 'it is nobody else’s').toBe(true)
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', '')).toBeNull()
  expect(await decides(['owner'], 2)).toBe(true)
})

test('permitting everything gives no more than an owner has, and undoes no forbid of the platform’s', async () => {
  const owner = await grants(['owner'])
  expect(await setRules(acme.ADMIN.actor, 'ORGANIZATION', everything)).toBeNull()
  expect((await grants(['viewer'])).granted.sort()).toEqual([...owner.granted].sort())
  expect(await setRules(actors.operator, 'PLATFORM', freeze)).toBeNull()
  expect(await decides(['viewer'], 1)).toBe(false)
  expect(await decides(['owner'], 1)).toBe(false)
  const { errors } = await policy.graphql(acme.VIEWER.actor, '{ deniedSigningKeys { keyId } }')
  expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('who sets rules: owners and admins their own, operators the platform’s, nobody else any', async () => {
  for (const role of ['MEMBER', 'VIEWER', 'BILLING'] as const) {
    const error = await setRules(acme[role].actor, 'ORGANIZATION', cap)
    expect(error?.extensions.code).toBe('FORBIDDEN')
  }
  expect((await setRules(acme.OWNER.actor, 'PLATFORM', cap))?.extensions.code).toBe('FORBIDDEN')
  expect(await decides(['owner'], 2)).toBe(true)
})

test('rules that are not well written are refused with the line, and what was set stays', async () => {
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', cap)).toBeNull()
  const wrong = `${cap}\npermit(principal in Role::"viewr", action, resource);`
  const error = await setRules(acme.OWNER.actor, 'ORGANIZATION', wrong)
  expect(error?.extensions.code).toBe('BAD_INPUT')
  expect(error?.message).toMatch(/line 3, column 21: .*"viewer"/)
  expect(await decides(['owner'], 2)).toBe(false)
})

test('an owner who has locked everybody out can still set other rules', async () => {
  const out = 'forbid(principal, action, resource);'
  expect(await setRules(acme.ADMIN.actor, 'ORGANIZATION', out)).toBeNull()
  expect((await grants(['admin'])).granted).toEqual([])
  expect((await grants(['owner'])).granted.sort()).toEqual(['policy:manage', 'policy:read'])
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', '')).toBeNull()
  expect((await grants(['admin'])).granted).toContain('allocation:create')
})

test('what was set by hand and cannot be read denies its organization, and no other', async () => {
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', cap)).toBeNull()
  await policy.owner.sql.query(
    `WITH set AS (
       UPDATE policy.policy_values SET value = '"permit everything"', version = version + 1
       WHERE key = 'authz.rules' AND organization_id = $1::uuid RETURNING id, version, value
     )
     INSERT INTO policy.policy_changes (setting_id, version, value, actor, reason)
     SELECT id, version, value, '{"kind": "service"}', 'by hand' FROM set`,
    [idToUuid(acme.id)],
  )
  expect(await decides(['owner'], 1)).toBe(false)
  const other = await newOrganization(policy)
  expect(await decides(['owner'], 1, other.id)).toBe(true)
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', '')).toBeNull()
  expect(await decides(['owner'], 1)).toBe(true)
})

test('a decision that begins after a change is made by it, however many are under way', async () => {
  for (let round = 0; round < 5; round++) {
    const isFrozen = round % 2 === 0
    const before = Array.from({ length: 20 }, () => decides(['owner'], 1))
    expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', isFrozen ? freeze : '')).toBeNull()
    const after = await Promise.all(Array.from({ length: 20 }, () => decides(['owner'], 1)))
    expect(new Set(after)).toEqual(new Set([!isFrozen]))
    await Promise.all(before)
  }
})

test('wrong facts, and an action that there is none of, are refused', async () => {
  const input = { kind: 'person', organizationId: acme.id, roles: ['owner'] } as const
  const wrong = [
    { action: 'allocation:create', facts: [] },
    { action: 'allocation:create', facts: facts(1).slice(1) },
    { action: 'allocation:create', facts: [...facts(1), { name: 'more', value: 1 }] },
    {
      action: 'allocation:create',
      facts: [{ name: 'gpuCount', value: '1' }, ...facts(1).filter((it) => it.name !== 'gpuCount')],
    },
    { action: 'allocation:nope', facts: [] },
    { action: 'constructor', facts: [] },
  ]
  for (const it of wrong) {
    const answer = await ask.call(decideAction, { ...input, roles: ['owner'], ...it }, by())
    expect(answer).toEqual({ isGranted: false })
  }
})

const LOG = `query ($isGranted: Boolean) { policyDecisions(isGranted: $isGranted) { nodes {
  id at kind roles action facts isGranted basis versions { roles platform organization } weight
} } }`

test('refusals are in the log with why, and name nobody', async () => {
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', cap)).toBeNull()
  await decides(['owner'], 3)
  await vi.waitFor(
    async () => {
      const { data } = await policy.graphql(acme.ADMIN.actor, LOG, { isGranted: false })
      expect(data.policyDecisions.nodes).toMatchObject([
        {
          kind: 'person',
          roles: ['owner'],
          action: 'allocation:create',
          facts: { gpuModel: 'h100-sxm5-80gb', gpuCount: 3, region: 'any' },
          isGranted: false,
          basis: 'ORGANIZATION_FORBID',
          versions: { organization: 1 },
          weight: 1,
        },
      ])
      expect(JSON.stringify(data)).not.toContain('usr_')
    },
    { timeout: 30_000 },
  )
  const other = await newOrganization(policy)
  const { data } = await policy.graphql(other.OWNER.actor, LOG)
  expect(data.policyDecisions.nodes, 'another organization’s is another one’s').toEqual([])
  const everywhere = `query ($organizationId: ID) {
    platformPolicyDecisions(organizationId: $organizationId) { nodes { action basis } } }`
  const all = await policy.graphql(actors.operator, everywhere, { organizationId: acme.id })
  expect(all.data.platformPolicyDecisions.nodes).toContainEqual({
    action: 'allocation:create',
    basis: 'ORGANIZATION_FORBID',
  })
  for (const actor of [acme.OWNER.actor, acme.MEMBER.actor]) {
    const { errors } = await policy.graphql(actor, everywhere)
    expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  }
  const { errors } = await policy.graphql(acme.MEMBER.actor, LOG)
  expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('the log is not changed by the service, and is swept after seven days', async () => {
  const { sql } = policy.database
  for (const statement of [
    'UPDATE policy_decisions SET weight = 2',
    'DELETE FROM policy_decisions',
  ]) {
    await expect(sql.query(statement)).rejects.toMatchObject({ code: '42501' })
  }
  await policy.owner.sql.query(
    `INSERT INTO policy.policy_decisions (id, at, kind, roles, facts, granted, dependent, versions, weight)
     SELECT gen_random_uuid(), now() - interval '8 days', 'person', '{old}', '{}', '{}', '{}', '{}', 1`,
  )
  await sql.query('SELECT sweep_policy_decisions()')
  expect(await sql.query(`SELECT 1 FROM policy_decisions WHERE roles = '{old}'`)).toEqual([])
})

const DRY_RUN = `query ($input: PolicyRulesDryRunInput!) { policyRulesDryRun(input: $input) {
  problems examined changed changes { kind roles action facts before after decisions }
} }`

async function tryOut(actor: Actor, rules: string, level = 'ORGANIZATION') {
  const { data, errors } = await policy.graphql(actor, DRY_RUN, { input: { level, rules } })
  return data?.policyRulesDryRun ?? errors?.[0]?.extensions.code
}

test('a dry run tells what would be decided otherwise, and changes nothing', async () => {
  expect(await setRules(acme.OWNER.actor, 'ORGANIZATION', cap)).toBeNull()
  await decides(['member'], 3)
  await decides(['member'], 3)
  await vi.waitFor(
    async () => {
      const { changes, changed, problems } = await tryOut(acme.OWNER.actor, '')
      expect(problems).toEqual([])
      expect(changed).toBeGreaterThanOrEqual(2)
      expect(changes).toContainEqual({
        kind: 'person',
        roles: ['member'],
        action: 'allocation:create',
        facts: { gpuModel: 'h100-sxm5-80gb', gpuCount: 3, region: 'any' },
        before: 'REFUSED',
        after: 'GRANTED',
        decisions: 2,
      })
      expect(changes).toContainEqual({
        kind: 'person',
        roles: ['owner'],
        action: 'allocation:create',
        facts: {},
        before: 'DEPENDS',
        after: 'GRANTED',
        // All that they may do was asked for, and may be in the sample.
        decisions: expect.any(Number),
      })
    },
    { timeout: 30_000 },
  )
  expect(await decides(['member'], 3)).toBe(false)
  expect(await tryOut(acme.OWNER.actor, cap)).toMatchObject({ changed: 0, changes: [] })
})

test('a dry run of the platform’s rules tells of every organization’s; only operators may', async () => {
  const { changes } = await tryOut(actors.operator, freeze, 'PLATFORM')
  expect(changes).toContainEqual(
    expect.objectContaining({ roles: ['owner'], action: 'allocation:create', after: 'REFUSED' }),
  )
  expect(await tryOut(acme.OWNER.actor, freeze, 'PLATFORM')).toBe('FORBIDDEN')
  expect(await tryOut(acme.MEMBER.actor, freeze)).toBe('FORBIDDEN')
  expect(await tryOut(acme.OWNER.actor, freeze, 'USER')).toBe('BAD_INPUT')
  expect(await tryOut(acme.OWNER.actor, 'permit everything;')).toMatchObject({
    problems: [expect.stringMatching(/line 1/)],
    examined: 0,
  })
})

test('of many dry runs at once some are put off, of another organization none', async () => {
  const other = await newOrganization(policy)
  const many = Array.from({ length: 10 }, () => tryOut(acme.OWNER.actor, freeze))
  const another = await tryOut(other.OWNER.actor, freeze)
  const answers = await Promise.all(many)
  const codes = answers.filter((it) => typeof it === 'string')
  expect(new Set(codes)).toEqual(new Set(codes.length > 0 ? ['RATE_LIMITED'] : []))
  expect(codes.length).toBeLessThan(10)
  expect(another).toMatchObject({ problems: [] })
  expect(await tryOut(acme.OWNER.actor, freeze)).toMatchObject({ problems: [] })
})
