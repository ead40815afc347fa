import { anonymous, createActor, narrow } from '@berth/platform/actor'
import { newId } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mutate, newOrganization, type Policy } from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

test('what is another organization’s is as if it never was', async () => {
  const [own, other] = [await newOrganization(policy), await newOrganization(policy)]
  const { invitation } = await mutate(
    policy,
    other.OWNER.actor,
    'invitationCreate',
    { role: 'MEMBER' },
    { payload: 'invitation { id }' },
  )
  const { actor } = own.OWNER
  const probe = async (field: string, rest: string, id: string) => {
    const query = `mutation { ${field}(input: { id: "${id}"${rest} }) { __typename } }`
    const { errors } = await policy.graphql(actor, query)
    const { message = '', extensions, path } = errors?.[0] ?? {}
    return { message: message.replaceAll(id, '<id>'), code: extensions?.code, path }
  }
  for (const [field, rest, id, unknown] of [
    ['membershipSetRole', ', role: VIEWER', other.MEMBER.membershipId, newId('mem')],
    ['membershipRemove', '', other.MEMBER.membershipId, newId('mem')],
    ['invitationRevoke', '', invitation.id, newId('inv')],
  ] as const) {
    const seen = await probe(field, rest, id)
    expect(seen, field).toEqual(await probe(field, rest, unknown))
    expect(seen.code, field).toBe('NOT_FOUND')
  }
  const cursor = Buffer.from(`k:${other.OWNER.membershipId}`).toString('base64url')
  const { data } = await policy.graphql(
    actor,
    `query ($representations: [_Any!]!) {
      organization { members(after: "${cursor}") { nodes { id } } invitations { nodes { id } } }
      _entities(representations: $representations) {
        ... on Organization { members { nodes { id } } invitations { nodes { id } } }
      }
    }`,
    { representations: [{ __typename: 'Organization', id: other.id }] },
  )
  const text = JSON.stringify(data)
  expect(data._entities).toEqual([null])
  for (const it of [other.OWNER, other.MEMBER]) expect(text).not.toContain(it.membershipId)
  expect(data.organization.invitations.nodes).toEqual([])
  // One from outside that one was a member of before sees none of it either.
  await mutate(policy, other.OWNER.actor, 'membershipRemove', { id: other.VIEWER.membershipId })
  const left = await policy.graphql(other.VIEWER.actor, '{ viewer { membership { id } } }')
  expect(left.data.viewer.membership).toBeNull()
})

const ROLES = ['OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'] as const
const MANAGERS = ['OWNER', 'ADMIN']
const SETTING = 'key: "ratelimit.query", level: ORGANIZATION, reason: "a test", expectedVersion: 9'
/** Which roles may call a field, as far as its rule says: what comes after is the service's. */
const MATRIX: [string, readonly string[]][] = [
  ['{ organization { members { nodes { id role user { id } } } } }', MANAGERS],
  ['{ organization { invitations { nodes { id note createdBy { id } } } } }', MANAGERS],
  ['{ apiKeys { nodes { id prefix createdBy { id } } } }', MANAGERS],
  ['{ viewer { membership { id } } }', ROLES],
  ['{ policies { key effective history(level: PLATFORM) { nodes { version } } } }', []],
  ['{ policies { key effective settings { value } } }', MANAGERS],
  ['mutation { organizationCreate(input: { name: "A" }) { organization { id } } }', ROLES],
  [
    'mutation { membershipSetRole(input: { id: "x", role: VIEWER }) { membership { id } } }',
    MANAGERS,
  ],
  ['mutation { membershipRemove(input: { id: "x" }) { membershipId } }', ROLES],
  ['mutation { invitationCreate(input: { role: VIEWER }) { token } }', MANAGERS],
  ['mutation { invitationAccept(input: { token: "x" }) { role } }', ROLES],
  ['mutation { invitationRevoke(input: { id: "x" }) { invitation { id } } }', MANAGERS],
  ['mutation { apiKeyCreate(input: { name: "a", scopes: [] }) { secret } }', MANAGERS],
  ['mutation { apiKeyRotate(input: { id: "x" }) { secret } }', MANAGERS],
  ['mutation { apiKeyRevoke(input: { id: "x" }) { apiKey { id } } }', MANAGERS],
  [
    `mutation { policySet(input: { value: { perMinute: 1, burst: 1 }, ${SETTING} }) { version } }`,
    MANAGERS,
  ],
  [`mutation { policyReset(input: { ${SETTING} }) { version } }`, MANAGERS],
  [`mutation { policyRollback(input: { toVersion: 1, ${SETTING} }) { version } }`, MANAGERS],
]

test.each(MATRIX)('%s is for its roles', async (query, allowed) => {
  const org = await newOrganization(policy)
  const refusal = async (actor: Parameters<typeof policy.graphql>[0]) => {
    const code = (await policy.graphql(actor, query)).errors?.[0]?.extensions.code
    return code === 'FORBIDDEN' || code === 'UNAUTHENTICATED' ? code : null
  }
  for (const role of ROLES) {
    expect(await refusal(org[role].actor), role).toBe(allowed.includes(role) ? null : 'FORBIDDEN')
  }
  const isViewer = query.startsWith('{ viewer')
  expect(await refusal(anonymous), 'anonymous').toBe(isViewer ? null : 'UNAUTHENTICATED')
  const operator = createActor({
    kind: 'person',
    subject: newId('usr'),
    roles: ['platform:operator'],
  })
  const isForOperators = query.startsWith('{ policies')
  const isForAnyone =
    isViewer || isForOperators || /organizationCreate|invitationAccept/.test(query)
  expect(await refusal(operator), 'operator').toBe(isForAnyone ? null : 'FORBIDDEN')
})

test('what depends on the organization alone is had without naming a person', async () => {
  const org = await newOrganization(policy)
  const { actor, userId } = org.OWNER
  await mutate(policy, actor, 'invitationCreate', { role: 'VIEWER', note: 'Ada' })
  await mutate(policy, actor, 'apiKeyCreate', { name: 'CI', scopes: ['allocation:read'] })
  const query = `{
    organization { invitations { nodes { state note createdBy { id } } } }
    apiKeys { nodes { state createdBy { id } } }
  }`
  const { data } = await policy.graphql(narrow(actor, 'ORGANIZATION'), query)
  const createdBy = { id: userId }
  expect(data.organization.invitations.nodes).toEqual([
    { state: 'PENDING', note: 'Ada', createdBy },
  ])
  expect(data.apiKeys.nodes).toEqual([{ state: 'ACTIVE', createdBy }])
})

test.each(MATRIX.filter(([query]) => query.startsWith('mutation')))(
  'no API key, of whatever scope, gets through %s',
  async (query) => {
    const org = await newOrganization(policy)
    const key = createActor({
      kind: 'api-key',
      organizationId: org.id,
      roles: ['owner'],
      scopes: ['organization:*', 'allocation:*'],
      credential: newId('key'),
    })
    const real = query
      .replace('"x", role', `"${org.MEMBER.membershipId}", role`)
      .replace(
        'membershipRemove(input: { id: "x"',
        `membershipRemove(input: { id: "${org.MEMBER.membershipId}"`,
      )
      .replace(
        'invitationRevoke(input: { id: "x"',
        `invitationRevoke(input: { id: "${newId('inv')}"`,
      )
      .replace(/(apiKeyR\w+\(input: { id: )"x"/, `$1"${newId('key')}"`)
      .replace('scopes: []', 'scopes: ["allocation:read"]')
    expect((await policy.graphql(key, real)).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  },
)
