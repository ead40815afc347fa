import { idToUuid, newId, uuidToId } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  dump,
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

test('who has an invitation becomes a member by it, once, and never of two that accept at once', async () => {
  const org = await newOrganization(policy)
  for (let round = 0; round < 5; round++) {
    const { token } = await mutate(
      policy,
      org.ADMIN.actor,
      'invitationCreate',
      { role: 'MEMBER' },
      { payload: INVITATION },
    )
    const people = [await newPerson(policy), await newPerson(policy), await newPerson(policy)]
    const answers = await Promise.all(
      people.map((it) => mutate(policy, it, 'invitationAccept', { token }, { payload: 'role' })),
    )
    expect(answers.filter((it) => it.role === 'MEMBER')).toHaveLength(1)
    expect(answers.filter((it) => it === 'NOT_FOUND')).toHaveLength(2)
  }
  expect(Object.values(await rolesOf(org)).filter((it) => it === 'MEMBER')).toHaveLength(6)
})

test('whatever is wrong with an invitation, its presenter is told the same', async () => {
  const org = await newOrganization(policy)
  const make = async () =>
    mutate(policy, org.OWNER.actor, 'invitationCreate', { role: 'OWNER' }, { payload: INVITATION })
  const [used, revoked, expired, good] = [await make(), await make(), await make(), await make()]
  const first = await newPerson(policy)
  await mutate(policy, first, 'invitationAccept', { token: used.token })
  await mutate(policy, org.OWNER.actor, 'invitationRevoke', { id: revoked.invitation.id })
  await policy.owner.sql.query(
    `UPDATE invitations SET expires_at = now() - interval '1 s' WHERE id = $1::uuid`,
    [idToUuid(expired.invitation.id)],
  )
  const wrong = [
    used.token,
    revoked.token,
    expired.token,
    `${good.token.slice(0, -1)}${good.token.endsWith('A') ? 'B' : 'A'}`,
    good.token.slice(0, -1),
    good.token.replace(/^(\w+)_\w{26}/, `$1_${newId('inv').slice(4)}`),
    '',
    'berthinvite_',
  ]
  const person = await newPerson(policy)
  const query = 'mutation ($t: String!) { invitationAccept(input: { token: $t }) { role } }'
  const answers = await Promise.all(wrong.map((t) => policy.graphql(person, query, { t })))
  const told = new Set(answers.map(({ errors }) => JSON.stringify([errors?.[0]?.message])))
  expect(told.size).toBe(1)
  expect(answers[0]?.errors?.[0]?.extensions.code).toBe('NOT_FOUND')
  // The good one is good still.
  expect(await mutate(policy, person, 'invitationAccept', { token: good.token })).toBeTypeOf(
    'object',
  )
})

test('a member who accepts is told so, and the invitation stays open for another one', async () => {
  const org = await newOrganization(policy)
  const { token } = await mutate(
    policy,
    org.OWNER.actor,
    'invitationCreate',
    { role: 'ADMIN' },
    { payload: INVITATION },
  )
  expect(await mutate(policy, org.VIEWER.actor, 'invitationAccept', { token })).toBe('CONFLICT')
  expect(await mutate(policy, await newPerson(policy), 'invitationAccept', { token })).toBeTypeOf(
    'object',
  )
})

test.each([
  ['is removed', 'membershipRemove', {}],
  ['loses the role', 'membershipSetRole', { role: 'MEMBER' }],
])('an invitation is no way back for an admin who %s', async (_what, field, input) => {
  const org = await newOrganization(policy)
  const { token } = await mutate(
    policy,
    org.ADMIN.actor,
    'invitationCreate',
    { role: 'VIEWER' },
    { payload: INVITATION },
  )
  await mutate(policy, org.OWNER.actor, field, { id: org.ADMIN.membershipId, ...input })
  expect(await mutate(policy, await newPerson(policy), 'invitationAccept', { token })).toBe(
    'NOT_FOUND',
  )
  expect((await invitationsOf(org))[0]?.state).toBe('REVOKED')
})

test('nor for one who is removed by plain SQL', async () => {
  const org = await newOrganization(policy)
  const { token } = await mutate(
    policy,
    org.ADMIN.actor,
    'invitationCreate',
    { role: 'ADMIN' },
    { payload: INVITATION },
  )
  await policy.owner.sql.query('DELETE FROM memberships WHERE id = $1::uuid', [
    idToUuid(org.ADMIN.membershipId),
  ])
  expect(await mutate(policy, await newPerson(policy), 'invitationAccept', { token })).toBe(
    'NOT_FOUND',
  )
})

test.each([
  ['ADMIN', { role: 'OWNER' }, 'FORBIDDEN'],
  ['MEMBER', { role: 'VIEWER' }, 'FORBIDDEN'],
  ['OWNER', { role: 'OWNER', ttlHours: 0 }, 'BAD_INPUT'],
  ['OWNER', { role: 'OWNER', ttlHours: 721 }, 'BAD_INPUT'],
  ['OWNER', { role: 'OWNER', note: 'x'.repeat(201) }, 'BAD_INPUT'],
] as const)('one who is %s may not invite with %j: %s', async (by, input, expected) => {
  const org = await newOrganization(policy)
  expect(await mutate(policy, org[by].actor, 'invitationCreate', input)).toBe(expected)
})

test('for whom an invitation is, its makers read, and nobody once it is settled', async () => {
  const org = await newOrganization(policy)
  const note = 'For Ada, ada@example.org'
  const { invitation, token } = await mutate(
    policy,
    org.OWNER.actor,
    'invitationCreate',
    { role: 'VIEWER', note },
    { payload: INVITATION },
  )
  expect(invitation.note).toBe(note)
  expect(await dump(policy)).not.toContain('Ada')
  expect((await invitationsOf(org))[0]).toMatchObject({ state: 'PENDING', note })
  await mutate(policy, await newPerson(policy), 'invitationAccept', { token })
  expect((await invitationsOf(org))[0]).toMatchObject({ state: 'ACCEPTED', note: null })
  const revoke = { id: invitation.id }
  expect(await mutate(policy, org.OWNER.actor, 'invitationRevoke', revoke)).toBe('CONFLICT')
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
