import { idToUuid, newId, uuidToId } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  audits,
  eventTypes,
  memberActor,
  mutate,
  newOrganization,
  newPerson,
  type Policy,
  type TestOrganization,
} from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const INVITATION = 'invitation { id state role note } token'

test('whoever makes an organization owns it, and acts for it from then on', async () => {
  const person = await newPerson(policy)
  const payload = 'organization { id name createdAt } membership { id role user { id } }'
  const made = await mutate(policy, person, 'organizationCreate', { name: ' Acme ' }, { payload })
  expect(made).toMatchObject({
    organization: { name: 'Acme' },
    membership: { role: 'OWNER', user: { id: person.subject } },
  })
  const owner = memberActor(person.subject, made.organization.id, 'OWNER')
  const { data } = await policy.graphql(
    owner,
    '{ viewer { membership { id role } } organization { members { nodes { id user { id } } } } }',
  )
  expect(data.viewer.membership).toEqual({ id: made.membership.id, role: 'OWNER' })
  expect(data.organization.members.nodes).toEqual([
    { id: made.membership.id, user: { id: person.subject } },
  ])
  expect(await eventTypes(policy, made.organization.id)).toEqual([
    'policy.organization.created',
    'policy.membership.added',
  ])
})

test('a person owns 20 organizations at most, however many they make at once', async () => {
  const person = await newPerson(policy)
  const made = await Promise.all(
    Array.from({ length: 25 }, (_, i) =>
      mutate(policy, person, 'organizationCreate', { name: `O${i}` }),
    ),
  )
  expect(made.filter((it) => it === 'QUOTA_EXCEEDED')).toHaveLength(5)
})

test.each(['', ' ', 'x'.repeat(81), 'a\nb', 'a\u2028b'])(
  'an organization is not called %j',
  async (name) => {
    expect(await mutate(policy, await newPerson(policy), 'organizationCreate', { name })).toBe(
      'BAD_INPUT',
    )
  },
)

test.each([
  ['OWNER', 'MEMBER', 'OWNER', 'ok'],
  ['OWNER', 'ADMIN', 'VIEWER', 'ok'],
  ['ADMIN', 'MEMBER', 'ADMIN', 'ok'],
  ['ADMIN', 'ADMIN', 'VIEWER', 'ok'],
  ['ADMIN', 'MEMBER', 'OWNER', 'FORBIDDEN'],
  ['ADMIN', 'OWNER', 'VIEWER', 'FORBIDDEN'],
  ['ADMIN', 'OWNER', 'OWNER', 'FORBIDDEN'],
  ['OWNER', 'OWNER', 'ADMIN', 'CONFLICT'],
  ['MEMBER', 'VIEWER', 'VIEWER', 'FORBIDDEN'],
  ['BILLING', 'BILLING', 'VIEWER', 'FORBIDDEN'],
  ['VIEWER', 'VIEWER', 'MEMBER', 'FORBIDDEN'],
] as const)('one who is %s makes a %s a %s: %s', async (by, whom, role, expected) => {
  const org = await newOrganization(policy)
  const id = org[whom].membershipId
  const payload = 'membership { role }'
  const answer = await mutate(policy, org[by].actor, 'membershipSetRole', { id, role }, { payload })
  expect(answer).toEqual(expected === 'ok' ? { membership: { role } } : expected)
  expect((await rolesOf(org))[id]).toBe(expected === 'ok' ? role : whom)
})

test.each([
  ['OWNER', 'ADMIN', 'ok'],
  ['OWNER', 'OWNER', 'CONFLICT'],
  ['ADMIN', 'MEMBER', 'ok'],
  ['ADMIN', 'OWNER', 'FORBIDDEN'],
  ['MEMBER', 'MEMBER', 'ok'],
  ['BILLING', 'BILLING', 'ok'],
  ['VIEWER', 'VIEWER', 'ok'],
  ['MEMBER', 'VIEWER', 'FORBIDDEN'],
  ['VIEWER', 'OWNER', 'FORBIDDEN'],
] as const)('one who is %s removes the %s: %s', async (by, whom, expected) => {
  const org = await newOrganization(policy)
  const id = org[whom].membershipId
  const answer = await mutate(policy, org[by].actor, 'membershipRemove', { id })
  expect(typeof answer === 'string' ? answer : 'ok').toBe(expected)
  expect(id in (await rolesOf(org))).toBe(expected !== 'ok')
})

test('a member learns nothing of which ids are members', async () => {
  const org = await newOrganization(policy)
  const { actor } = org.VIEWER
  const ask = (id: string) =>
    policy.graphql(actor, `mutation { membershipRemove(input: { id: "${id}" }) { membershipId } }`)
  const [real, unknown] = [await ask(org.OWNER.membershipId), await ask(newId('mem'))]
  expect(real.errors?.[0]?.message).toBe(unknown.errors?.[0]?.message)
  expect(real.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('one whose role was changed a moment ago acts by the new one, not by what they asked with', async () => {
  const org = await newOrganization(policy)
  const { actor, membershipId } = org.ADMIN
  await mutate(policy, org.OWNER.actor, 'membershipSetRole', { id: membershipId, role: 'VIEWER' })
  const answer = await mutate(policy, actor, 'membershipSetRole', {
    id: membershipId,
    role: 'ADMIN',
  })
  expect(answer).toBe('CONFLICT')
  await mutate(policy, org.OWNER.actor, 'membershipRemove', { id: membershipId })
  expect(await mutate(policy, actor, 'invitationCreate', { role: 'VIEWER' })).toBe('FORBIDDEN')
})

test('of two owners who leave at once, one stays, each time', async () => {
  for (let round = 0; round < 8; round++) {
    const org = await newOrganization(policy)
    const { OWNER, ADMIN } = org
    await mutate(policy, OWNER.actor, 'membershipSetRole', {
      id: ADMIN.membershipId,
      role: 'OWNER',
    })
    const second = memberActor(ADMIN.userId, org.id, 'OWNER')
    const answers = await Promise.all([
      mutate(policy, OWNER.actor, 'membershipRemove', { id: OWNER.membershipId }),
      mutate(policy, second, 'membershipRemove', { id: ADMIN.membershipId }),
    ])
    expect(answers.filter((it) => it === 'CONFLICT')).toHaveLength(1)
    expect(Object.values(await rolesOf(org)).filter((it) => it === 'OWNER')).toHaveLength(1)
  }
})

test('nor does plain SQL, twice at once, take the last owners away', async () => {
  const org = await newOrganization(policy)
  await policy.owner.sql.query(`UPDATE memberships SET role = 'OWNER' WHERE id = $1::uuid`, [
    idToUuid(org.ADMIN.membershipId),
  ])
  const outcomes = await Promise.allSettled(
    [org.OWNER, org.ADMIN].map(({ membershipId }) =>
      policy.owner.sql.query('DELETE FROM memberships WHERE id = $1::uuid', [
        idToUuid(membershipId),
      ]),
    ),
  )
  expect(outcomes.map((it) => it.status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(outcomes.find((it) => it.status === 'rejected')?.reason).toMatchObject({
    code: '23514',
    constraint: 'memberships_keep_an_owner',
  })
})

test('under an idempotency key a change is made once; a token is shown to the first alone', async () => {
  const org = await newOrganization(policy)
  const { actor } = org.OWNER
  const create = (key: string, role = 'MEMBER') =>
    mutate(policy, actor, 'invitationCreate', { role }, { payload: INVITATION, key })
  const [first, again] = [await create('a'), await create('a')]
  expect(again).toEqual({ ...first, token: null })
  expect(await create('a', 'VIEWER')).toBe('IDEMPOTENCY_MISMATCH')
  expect(await invitationsOf(org)).toHaveLength(1)
  const revoke = () => mutate(policy, actor, 'invitationRevoke', first.invitation, { key: 'b' })
  // Another input than the id alone is no input.
  expect(await revoke()).toBe('BAD_INPUT')

  const { token } = await create('c')
  const person = await newPerson(policy)
  const accept = () =>
    mutate(policy, person, 'invitationAccept', { token }, { payload: 'role', key: 'd' })
  expect([await accept(), await accept()]).toEqual([{ role: 'MEMBER' }, { role: 'MEMBER' }])

  const make = () =>
    mutate(
      policy,
      person,
      'organizationCreate',
      { name: 'A' },
      { payload: 'organization { id }', key: 'e' },
    )
  expect(await make()).toEqual(await make())

  const input = { id: org.VIEWER.membershipId, reason: 'moved on' }
  const remove = () =>
    mutate(policy, actor, 'membershipRemove', input, { payload: 'membershipId', key: 'f' })
  expect(await remove()).toEqual({ membershipId: input.id })
  expect(await remove()).toEqual({ membershipId: input.id })
})

test('every change has its audit row with before and after, and its event, or neither', async () => {
  const org = await newOrganization(policy)
  const { OWNER, MEMBER, VIEWER } = org
  await mutate(policy, OWNER.actor, 'membershipSetRole', {
    id: MEMBER.membershipId,
    role: 'ADMIN',
    reason: 'runs the cluster',
  })
  await mutate(policy, OWNER.actor, 'membershipSetRole', { id: MEMBER.membershipId, role: 'ADMIN' })
  await mutate(policy, VIEWER.actor, 'membershipRemove', { id: VIEWER.membershipId })
  await mutate(policy, OWNER.actor, 'membershipRemove', { id: OWNER.membershipId })
  const { invitation } = await mutate(
    policy,
    OWNER.actor,
    'invitationCreate',
    { role: 'OWNER' },
    { payload: INVITATION },
  )
  const revoke = { id: invitation.id, reason: 'wrong person' }
  await mutate(policy, OWNER.actor, 'invitationRevoke', revoke)
  await mutate(policy, OWNER.actor, 'invitationRevoke', revoke)
  expect(await audits(policy, org.id)).toMatchObject([
    {
      action: 'membership.setRole',
      target: MEMBER.membershipId,
      reason: 'runs the cluster',
      facts: { userId: MEMBER.userId },
      before: { role: 'MEMBER' },
      after: { role: 'ADMIN' },
    },
    {
      action: 'membership.remove',
      target: VIEWER.membershipId,
      reason: null,
      facts: { userId: VIEWER.userId },
      before: { role: 'VIEWER' },
      after: null,
    },
    { action: 'invitation.create', target: invitation.id, after: { role: 'OWNER' } },
    {
      action: 'invitation.revoke',
      reason: 'wrong person',
      before: { state: 'PENDING' },
      after: { state: 'REVOKED' },
    },
  ])
  expect((await eventTypes(policy, org.id)).slice(6)).toEqual([
    'policy.membership.changed',
    'policy.membership.removed',
    'policy.invitation.created',
    'policy.invitation.revoked',
  ])
})

test('members and invitations come by pages', async () => {
  const org = await newOrganization(policy)
  const page = async (after: string | null) => {
    const { data } = await policy.graphql(
      org.OWNER.actor,
      'query ($after: String) { organization { members(first: 2, after: $after) { nodes { role } pageInfo { hasNextPage endCursor } } } }',
      { after },
    )
    return data.organization.members
  }
  const seen: string[] = []
  let after: string | null = null
  do {
    const { nodes, pageInfo } = await page(after)
    seen.push(...nodes.map((it: { role: string }) => it.role))
    after = pageInfo.hasNextPage ? pageInfo.endCursor : null
  } while (after)
  expect(seen).toEqual(['OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'])
})

async function rolesOf({ id }: TestOrganization): Promise<Record<string, string>> {
  const rows = await policy.database.prisma.membership.findMany({
    where: { organizationId: idToUuid(id) },
  })
  return Object.fromEntries(rows.map((it) => [uuidToId('mem', it.id), it.role]))
}

async function invitationsOf({ OWNER }: TestOrganization) {
  const { data } = await policy.graphql(
    OWNER.actor,
    '{ organization { invitations { nodes { id state note } } } }',
  )
  return data.organization.invitations.nodes as { id: string; state: string; note: string | null }[]
}
