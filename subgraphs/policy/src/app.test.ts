import { anonymous, createActor, narrow } from '@berth/platform/actor'
import { newId } from '@berth/platform/ids'
import { latestPosition, readEventsAfter } from '@berth/platform/outbox'
import { resolveActor, signCertificate } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seed, seedId } from './seed.ts'
import { actors, ISSUER, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Awaited<ReturnType<typeof startPolicy>>

beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const VIEWER = '{ viewer { user { id name } organization { id name } roles } }'
const MEMBERS = '{ organization { name members { nodes { role user { name } } } } }'
const ENTITIES = `query ($representations: [_Any!]!) {
  _entities(representations: $representations) { __typename ... on User { name } ... on Organization { name } }
}`

test('a person sees who they are; nobody is nobody', async () => {
  expect((await policy.graphql(actors.user, VIEWER)).data.viewer).toEqual({
    user: { id: seedId('usr', 'user'), name: 'User' },
    organization: { id: seedId('org', 'Development'), name: 'Development' },
    roles: ['member'],
  })
  expect(await policy.graphql(anonymous, VIEWER)).toEqual({ data: { viewer: null } })
})

test('an operation without an assertion is refused', async () => {
  const response = await fetch(`${policy.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: VIEWER }),
  })
  expect(response.status).toBe(401)
})

test('owners see who belongs to their organization, members do not', async () => {
  const { data } = await policy.graphql(actors.admin, MEMBERS)
  expect(data.organization.members.nodes).toEqual([
    { role: 'OWNER', user: { name: 'Admin' } },
    { role: 'MEMBER', user: { name: 'User' } },
  ])
  const refused = await policy.graphql(actors.user, MEMBERS)
  expect(refused.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('a person of another organization is nobody, and so is another organization', async () => {
  const representations = [
    { __typename: 'User', id: seedId('usr', 'admin') },
    { __typename: 'User', id: seedId('usr', 'operator') },
    { __typename: 'User', id: newId('usr') },
    { __typename: 'Organization', id: seedId('org', 'Development') },
    { __typename: 'Organization', id: seedId('org', 'Operations') },
  ]
  const seen = [{ __typename: 'User', name: 'Admin' }, null, null]
  const expected = [...seen, { __typename: 'Organization', name: 'Development' }, null]
  for (const actor of [actors.user, narrow(actors.user, 'ORGANIZATION')]) {
    const { data } = await policy.graphql(actor, ENTITIES, { representations })
    expect(data._entities).toEqual(expected)
  }
  const { data } = await policy.graphql(anonymous, ENTITIES, { representations })
  expect(data._entities).toEqual([null, null, null, null, null])
})

test('an id of another kind is bad input, not somebody', async () => {
  const representations = [{ __typename: 'User', id: seedId('org', 'Development') }]
  const { errors } = await policy.graphql(actors.user, ENTITIES, { representations })
  expect(errors?.[0]?.extensions.code).toBe('BAD_INPUT')
})

test('one without an organization is told so', async () => {
  const nobody = createActor({ kind: 'person', subject: seedId('usr', 'user') })
  const { errors } = await policy.graphql(nobody, MEMBERS)
  expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('seeding again changes nothing, and tells of nothing', async () => {
  const events = () => readEventsAfter(policy.database.sql, { after: 0n, limit: 100 })
  const counts = () =>
    policy.database.sql.query(
      'SELECT (SELECT count(*) FROM outbox) AS events, (SELECT count(*) FROM audit_events) AS audits',
    )
  await expect.poll(() => latestPosition(policy.database.sql)).toBe(5n)
  expect((await events()).map(({ envelope }) => envelope.type)).toEqual([
    'policy.organization.created',
    'policy.membership.added',
    'policy.membership.added',
    'policy.organization.created',
    'policy.membership.added',
  ])
  const before = await counts()
  await policy.database.sqlTransaction((sql) => seed(sql, ISSUER))
  expect(await counts()).toEqual(before)
})

test('a sign-in becomes an actor, in an organization of their own only', async () => {
  const commands = policy.commandsOf('gateway')
  const ask = (subject: string, organizationId = null as ReturnType<typeof newId<'org'>> | null) =>
    commands.call(
      resolveActor,
      { issuer: ISSUER, subject, organizationId },
      { commandId: newId('cmd') },
    )
  expect(await ask('operator')).toEqual({
    userId: seedId('usr', 'operator'),
    organizationId: seedId('org', 'Operations'),
    roles: ['owner', 'platform:operator'],
  })
  await expect(ask('nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(ask('user', seedId('org', 'Operations'))).rejects.toMatchObject({
    code: 'FORBIDDEN',
  })
})

test('the authorities’ public keys are for everyone, and their private keys for nobody', async () => {
  const response = await fetch(`${policy.url}/ssh/authorities`)
  const keys = (await response.json()) as Record<string, string>
  expect(Object.keys(keys)).toEqual(['user', 'node'])
  for (const key of Object.values(keys)) expect(key).toMatch(/^ssh-ed25519 [A-Za-z0-9+/=]+$/)
  expect(keys.user).not.toBe(keys.node)
})

test('a certificate is had by the service that may, over the command port', async () => {
  const { user } = await policy.certificates.authorityKeys()
  const request = {
    authority: 'user' as const,
    publicKey: user, // Any Ed25519 key will do.
    principal: `${newId('alc')}@node-1`,
    organizationId: seedId('org', 'Development'),
    ttlSeconds: 60,
  }
  const options = { actor: actors.user, commandId: newId('cmd') }
  const terminal = policy.commandsOf('terminal')
  const { certificate } = await terminal.call(signCertificate, request, options)
  expect(certificate).toMatch(/^ssh-ed25519-cert-v01@openssh.com /)
  for (const service of ['allocations', 'gateway', 'billing']) {
    await expect(
      policy.commandsOf(service).call(signCertificate, request, options),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  }
})
