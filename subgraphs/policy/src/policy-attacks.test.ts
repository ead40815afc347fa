import { createActor } from '@berth/platform/actor'
import { newId } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PolicyLevel } from './domain/policy-keys.ts'
import { mutate, newOrganization, type Policy, type TestOrganization } from './test-organization.ts'
import { actors, startPolicy } from './test-policy.ts'
import { type At, policyChanger, RATE_KEY } from './test-policy-changes.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
let change: ReturnType<typeof policyChanger>
beforeAll(async () => {
  policy = await startPolicy(scope)
  change = policyChanger(policy)
})
afterAll(() => scope.disposeAsync())

type Rate = { perMinute: number; burst: number }
const rate = (perMinute: number, burst = 10): Rate => ({ perMinute, burst })
const { operator } = actors
const OWN = { level: 'ORGANIZATION' } as const

async function grant(org: TestOrganization, value: unknown, key = RATE_KEY) {
  return change.set(operator, { level: 'GRANT', organizationId: org.id, key }, value)
}

async function granted(value: unknown = rate(1_000, 100)): Promise<TestOrganization> {
  const org = await newOrganization(policy)
  expect((await grant(org, value)).code).toBeUndefined()
  return org
}

test('no value above the ceiling is taken, in any field, and the refusal names it', async () => {
  const org = await granted()
  for (const value of [rate(1_001, 1), rate(1, 101), rate(100_000, 10_000)]) {
    const { code, message, extensions } = await change.set(org.OWNER.actor, OWN, value)
    expect({ code, ceiling: extensions.ceiling }).toEqual({
      code: 'BAD_INPUT',
      ceiling: rate(1_000, 100),
    })
    expect(message).toContain('{"burst":100,"perMinute":1000}')
  }
  expect(
    (await change.set(org.OWNER.actor, OWN, rate(1_000, 100))).code,
    'the ceiling itself',
  ).toBe(undefined)
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(1_000, 100))
})

test.each([
  '1e300',
  '-1',
  '0',
  '9007199254740993',
  '"Infinity"',
  'NaN',
  'null',
  '{"$gt": 0}',
  '[1000000]',
  'true',
])('perMinute: %s raises nothing', async (number) => {
  const org = await granted()
  const asJson = () => {
    try {
      return JSON.parse(`{"perMinute": ${number}, "burst": 1}`)
    } catch {
      return { perMinute: Number(number), burst: 1 }
    }
  }
  expect((await change.set(org.OWNER.actor, OWN, asJson())).code).toBe('BAD_INPUT')
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(1_000, 100))
})

test.each([
  '{"perMinute": 1, "burst": 1, "__proto__": {"perMinute": 999999}}',
  '{"__proto__": {"perMinute": 999999, "burst": 9999}}',
  '{"perMinute": 1, "burst": 1, "constructor": {"prototype": {"perMinute": 999999}}}',
])('the prototype in %s raises nothing, as a variable and as a literal', async (json) => {
  const org = await granted()
  const { actor } = org.OWNER
  expect((await change.set(actor, OWN, JSON.parse(json))).code).toBe('BAD_INPUT')
  const literal = json.replaceAll(/"(\w+)":/g, '$1:')
  const { errors } = await policy.graphql(
    actor,
    `mutation { policySet(input: { key: "${RATE_KEY}", level: ORGANIZATION, value: ${literal},
      reason: "a test", expectedVersion: 0 }) { version } }`,
  )
  expect(errors?.[0]?.extensions.code).toBe('BAD_INPUT')
  expect(({} as { perMinute?: number }).perMinute).toBeUndefined()
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(1_000, 100))
})

test('no rollback goes back to before the ceiling was lowered', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  await change.set(actor, OWN, rate(900), { expectedVersion: 0 })
  await change.set(actor, OWN, rate(50), { expectedVersion: 1 })
  await grant(org, rate(100, 100))
  const { code, message } = await change.rollback(actor, OWN, 1, { expectedVersion: 2 })
  expect({ code, message }).toEqual({
    code: 'BAD_INPUT',
    message: expect.stringContaining('{"burst":100,"perMinute":100}'),
  })
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(50))
})

test('a ceiling that is lowered narrows what is beneath it, without a change there', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const { userId } = org.MEMBER
  await change.set(actor, OWN, rate(900, 90))
  await change.set(actor, { level: 'USER', userId }, rate(800, 80))
  await grant(org, rate(100, 85))
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(100, 85))
  expect(await change.effective(RATE_KEY, org.id, userId)).toEqual(rate(100, 80))
})

test('no reset takes away what the platform gave, or raises beyond it', async () => {
  const org = await granted(rate(5, 5))
  const { actor } = org.OWNER
  const { id: organizationId } = org
  expect((await change.reset(actor, { level: 'GRANT', organizationId })).code).toBe('FORBIDDEN')
  expect((await change.reset(actor, { level: 'PLATFORM' })).code).toBe('FORBIDDEN')
  await change.set(actor, OWN, rate(2, 2), { expectedVersion: 0 })
  await change.reset(actor, OWN, { expectedVersion: 1 })
  expect(await change.effective(RATE_KEY, organizationId)).toEqual(rate(5, 5))
})

test('no member is given more than their organization has', async () => {
  const org = await granted()
  const { actor } = org.OWNER
  const { userId } = org.OWNER
  await change.set(actor, OWN, rate(100))
  const { code, extensions } = await change.set(actor, { level: 'USER', userId }, rate(101))
  expect({ code, ceiling: extensions.ceiling }).toEqual({ code: 'BAD_INPUT', ceiling: rate(100) })
  expect(await change.effective(RATE_KEY, org.id, userId)).toEqual(rate(100))
})

test('of an organization that raises itself and a ceiling that is lowered at once, the ceiling wins', async () => {
  for (let round = 0; round < 10; round++) {
    const org = await granted()
    const { actor } = org.OWNER
    const { userId } = org.MEMBER
    const [own] = await Promise.all([
      change.set(actor, OWN, rate(1_000), { expectedVersion: 0 }),
      grant(org, rate(10, 5)),
      change.set(actor, { level: 'USER', userId }, rate(1_000), { expectedVersion: 0 }),
    ])
    // Either it came before the lowering, or it was told the new ceiling.
    expect(own.code ?? 'BAD_INPUT').toBe('BAD_INPUT')
    expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(10, 5))
    expect(await change.effective(RATE_KEY, org.id, userId)).toEqual(rate(10, 5))
  }
})

test('a quota is not raised either, and holds where it is enforced', async () => {
  const key = 'quota.invitations'
  const org = await newOrganization(policy)
  await grant(org, 2, key)
  const { actor } = org.OWNER
  expect((await change.set(actor, { ...OWN, key }, 3)).code).toBe('BAD_INPUT')
  const invite = () => mutate(policy, actor, 'invitationCreate', { role: 'VIEWER' })
  const made = await Promise.all(Array.from({ length: 6 }, invite))
  expect(made.filter((it) => it === 'QUOTA_EXCEEDED')).toHaveLength(4)
  await grant(org, 3, key)
  expect(await invite()).not.toBe('QUOTA_EXCEEDED')
  await change.set(actor, { ...OWN, key }, 0)
  expect(await invite()).toBe('QUOTA_EXCEEDED')
})

test('of those who accept at once, no more become members than may', async () => {
  const org = await newOrganization(policy)
  const { actor } = org.OWNER
  const people = await Promise.all(Array.from({ length: 5 }, () => newOrganization(policy)))
  const tokens = await Promise.all(
    people.map(() =>
      mutate(policy, actor, 'invitationCreate', { role: 'VIEWER' }, { payload: 'token' }),
    ),
  )
  // Five belong to it already.
  await grant(org, 7, 'quota.members')
  const accepted = await Promise.all(
    people.map((it, i) =>
      mutate(policy, it.OWNER.actor, 'invitationAccept', { token: tokens[i].token }),
    ),
  )
  expect(accepted.filter((it) => it === 'QUOTA_EXCEEDED')).toHaveLength(3)
  const { data } = await policy.graphql(actor, '{ organization { members { nodes { id } } } }')
  expect(data.organization.members.nodes).toHaveLength(7)
})

const LEVELS: readonly PolicyLevel[] = ['PLATFORM', 'GRANT', 'ORGANIZATION', 'USER']

test('an API key changes nothing, whatever its scopes', async () => {
  const org = await granted()
  for (const roles of [['owner'], ['owner', 'platform:operator']]) {
    const key = createActor({
      kind: 'api-key',
      organizationId: org.id,
      roles,
      scopes: ['policy:*', 'platform:*'],
      credential: newId('key'),
    })
    for (const level of LEVELS) {
      const at = {
        level,
        ...(level === 'GRANT' && { organizationId: org.id }),
        ...(level === 'USER' && { userId: org.MEMBER.userId }),
      }
      for (const outcome of [
        await change.set(key, at, rate(1)),
        await change.reset(key, at),
        await change.rollback(key, at, 1),
      ]) {
        expect(outcome.code, level).toBe('FORBIDDEN')
      }
    }
  }
  expect(await change.effective(RATE_KEY, org.id)).toEqual(rate(1_000, 100))
})

test('each level is for those who may, and for nobody else', async () => {
  const org = await granted()
  const targets: Record<PolicyLevel, At> = {
    PLATFORM: { level: 'PLATFORM' },
    GRANT: { level: 'GRANT', organizationId: org.id },
    ORGANIZATION: OWN,
    USER: { level: 'USER', userId: org.VIEWER.userId },
  }
  for (const role of ['OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'] as const) {
    const isManager = role === 'OWNER' || role === 'ADMIN'
    for (const level of LEVELS) {
      const isTheirs = isManager && (level === 'ORGANIZATION' || level === 'USER')
      const { code } = await change.reset(org[role].actor, targets[level])
      expect(code, `${role} at ${level}`).toBe(isTheirs ? undefined : 'FORBIDDEN')
    }
  }
  // Who runs the platform runs no organization for it.
  const { code } = await change.set(operator, { ...OWN, organizationId: org.id }, rate(1))
  expect(code).toBe('NOT_FOUND')
  const lonely = createActor({
    kind: 'person',
    subject: operator.subject,
    roles: ['platform:operator'],
  })
  expect((await change.set(lonely, OWN, rate(1))).code).toBe('FORBIDDEN')
  expect((await change.set(lonely, targets.GRANT, rate(7))).code).toBeUndefined()
})

test('who was an operator, or a manager, a moment ago changes nothing', async () => {
  const org = await granted()
  const former = createActor({
    kind: 'person',
    subject: org.VIEWER.userId,
    organizationId: org.id,
    roles: ['owner', 'platform:operator'],
  })
  const organizationId = org.id
  expect((await change.set(former, { level: 'GRANT', organizationId }, rate(9))).code).toBe(
    'FORBIDDEN',
  )
  expect((await change.set(former, { level: 'PLATFORM' }, rate(9))).code).toBe('FORBIDDEN')
  expect((await change.set(former, OWN, rate(9))).code).toBe('CONFLICT')
})

test('an admin narrows no owner', async () => {
  const org = await granted()
  const at = { level: 'USER', userId: org.OWNER.userId } as const
  expect((await change.set(org.ADMIN.actor, at, rate(1, 1))).code).toBe('FORBIDDEN')
  expect((await change.set(org.OWNER.actor, at, rate(900))).code).toBeUndefined()
})

test('another organization, or its members, are as if they never were', async () => {
  const [own, other] = [await granted(), await granted()]
  const { actor } = own.OWNER
  await change.set(other.OWNER.actor, OWN, rate(77))
  const blank = (text: string | undefined, id: string) => text?.replaceAll(id, '<id>')
  const probe = async (outcome: Promise<{ code?: string; message?: string }>, id: string) => {
    const { code, message } = await outcome
    return { code, message: blank(message, id) }
  }
  const organizations = [other.id, newId('org')]
  const people = [other.MEMBER.userId, newId('usr')]
  const found = await Promise.all([
    ...organizations.map((organizationId) =>
      probe(
        change.set(actor, { ...OWN, organizationId }, rate(1), { expectedVersion: 0 }),
        organizationId,
      ),
    ),
    ...people.map((userId) =>
      probe(change.set(actor, { level: 'USER', userId }, rate(1), { expectedVersion: 0 }), userId),
    ),
  ])
  expect(found.map(({ code }) => code)).toEqual(Array(4).fill('NOT_FOUND'))
  expect(found[0]).toEqual(found[1])
  expect(found[2]).toEqual(found[3])
  const read = async (whose: string, id: string) => {
    const query = `{ policy(key: "${RATE_KEY}", ${whose}) { effective history(level: ORGANIZATION) { nodes { after } } } }`
    const { data, errors } = await policy.graphql(actor, query)
    const [error] = errors ?? []
    return { data, code: error?.extensions.code, message: blank(error?.message, id) }
  }
  const seen = await Promise.all([
    ...organizations.map((id) => read(`organizationId: "${id}"`, id)),
    ...people.map((id) => read(`userId: "${id}"`, id)),
  ])
  expect(seen.map(({ code }) => code)).toEqual(Array(4).fill('NOT_FOUND'))
  expect(seen[0]).toEqual(seen[1])
  expect(seen[2]).toEqual(seen[3])
})

test('the platform’s own rules are for those who run it: they may name others', async () => {
  const org = await newOrganization(policy)
  const at = { level: 'PLATFORM', key: 'authz.rules' } as const
  const text = '// Of Acme: a secret'
  expect((await change.set(operator, at, text)).code).toBeUndefined()
  const query = `{ policies { key effective settings { level value } }
    policy(key: "authz.rules") { effective settings { level value } } }`
  const seen = async (actor: typeof operator) => {
    const { data, errors } = await policy.graphql(actor, query)
    expect(errors).toBeUndefined()
    return JSON.stringify(data)
  }
  expect(await seen(org.OWNER.actor)).not.toContain('Acme')
  const { message } = await change.set(org.OWNER.actor, { ...OWN, key: 'authz.rules' }, 'forbid!')
  expect(message).not.toContain('Acme')
  expect(await seen(operator)).toContain('Acme')
  expect((await change.reset(operator, at)).code).toBeUndefined()
})

test('the platform’s history is for those who run it, and a grant’s also for whom it is', async () => {
  const org = await granted()
  const history = async (actor: typeof operator, level: PolicyLevel) => {
    const query = `query ($level: PolicyLevel!) { policy(key: "${RATE_KEY}", organizationId: "${org.id}") {
      history(level: $level) { nodes { version } } } }`
    const { data, errors } = await policy.graphql(actor, query, { level })
    return errors?.[0]?.extensions.code ?? data.policy.history.nodes
  }
  expect(await history(org.OWNER.actor, 'PLATFORM')).toBe('FORBIDDEN')
  expect(await history(operator, 'PLATFORM')).toEqual([{ version: 1 }])
  for (const actor of [org.OWNER.actor, operator]) {
    expect(await history(actor, 'GRANT')).toEqual([{ version: 1 }])
  }
})
