import { hash } from 'node:crypto'
import { createActor } from '@berth/platform/actor'
import { type Id, idToUuid, newId, newUuid, uuidToId } from '@berth/platform/ids'
import type { Concern } from '@berth/platform/revocations'
import { parseApiKey } from '@berth/schema/api-key'
import {
  createSession,
  readRevocations,
  resolveActor,
  resolveApiKey,
} from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDirectoryWrites } from './store/directory.ts'
import {
  audits,
  eventTypes,
  mutate,
  newOrganization,
  newPerson,
  type Policy,
  type TestOrganization,
} from './test-organization.ts'
import { actors, ISSUER, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
const STANDING = {
  person: 'person { id suspendedAt }',
  organization: 'organization { id suspendedAt }',
}
const reason = 'abuse of the platform'

let policy: Policy
let acme: TestOrganization
let other: TestOrganization
let subject: string
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

/** A member of two organizations, who signs in. */
async function newMember(): Promise<Id<'usr'>> {
  acme = await newOrganization(policy)
  other = await newOrganization(policy, 'Other')
  const { userId } = acme.OWNER
  subject = newUuid()
  const writes = createDirectoryWrites(policy.owner.sql)
  await writes.linkIdentity(userId, ISSUER, subject)
  await writes.addMembership({ id: newId('mem'), organizationId: other.id, userId, role: 'MEMBER' })
  return userId
}

const set = (
  what: 'person' | 'organization',
  verb: 'Suspend' | 'Reinstate',
  id: string,
  more = {},
) =>
  mutate(
    policy,
    actors.operator,
    `${what}${verb}`,
    { id, reason, ...more },
    {
      payload: STANDING[what],
    },
  )

function resolve(organizationId: Id<'org'> | null = null) {
  const input = { issuer: ISSUER, subject, organizationId }
  return policy.commandsOf('gateway').call(resolveActor, input, { commandId: newUuid() })
}

async function newKey(): Promise<() => Promise<unknown>> {
  const input = { name: 'robot', scopes: ['organization:read'] }
  const { secret } = await mutate(policy, acme.OWNER.actor, 'apiKeyCreate', input, {
    payload: 'secret',
  })
  const parts = parseApiKey(secret as string)
  if (!parts) throw new Error('no key')
  return () =>
    policy
      .commandsOf('gateway')
      .call(
        resolveApiKey,
        { keyId: parts.id, secretHash: hash('sha256', parts.secret, 'base64url') },
        { commandId: newUuid() },
      )
}

const signIn = () =>
  policy.commandsOf('gateway').call(
    createSession,
    {
      id: newId('ses'),
      tokenHash: hash('sha256', newUuid()),
      issuer: ISSUER,
      subject,
      issuerSession: null,
      refreshToken: null,
      refreshSeconds: 600,
      idleSeconds: 600,
      lifetimeSeconds: 6_000,
      userAgent: null,
      clientIp: null,
      replaces: null,
    },
    { commandId: newUuid() },
  )

async function concernsOf(act: () => Promise<unknown>): Promise<Concern[]> {
  const read = (after: number | null) =>
    policy
      .commandsOf('gateway')
      .call(readRevocations, { after, limit: 1_000 }, { commandId: newUuid() })
  const { version } = await read(null)
  await act()
  return [...(await read(version)).concerns]
}

test('a suspended person is nobody: no sign-in, no session, no key of theirs', async () => {
  const userId = await newMember()
  const key = await newKey()
  expect(await resolve()).toMatchObject({ userId, organizationId: acme.id })
  const concerns = await concernsOf(async () => {
    expect(await set('person', 'Suspend', userId)).toEqual({
      person: { id: userId, suspendedAt: expect.any(String) },
    })
  })
  expect(concerns).toEqual([
    { kind: 'person', id: userId },
    { kind: 'credential', id: expect.stringMatching(/^key_/) },
  ])
  for (const asked of [null, acme.id, other.id]) {
    await expect(resolve(asked)).rejects.toMatchObject({ code: 'NOT_FOUND', message: /suspended/ })
  }
  await expect(key()).rejects.toMatchObject({ code: 'NOT_FOUND', message: /maker is suspended/ })
  await expect(signIn()).rejects.toMatchObject({
    code: 'FORBIDDEN',
    message: 'This account is suspended: contact support',
  })
  expect((await concernsOf(() => set('person', 'Reinstate', userId))).length).toBe(2)
  expect(await resolve()).toMatchObject({ userId, organizationId: acme.id })
  await expect(key()).resolves.toMatchObject({ organizationId: acme.id })
  await signIn()
})

test('a suspended organization cannot be acted for; its members act for their others', async () => {
  await newMember()
  const key = await newKey()
  const concerns = await concernsOf(() => set('organization', 'Suspend', acme.id))
  expect(concerns).toEqual([{ kind: 'organization', id: acme.id }])
  await expect(resolve(acme.id)).rejects.toMatchObject({
    code: 'FORBIDDEN',
    message: 'This organization is suspended: contact support',
    extensions: { suspended: true },
  })
  // Their oldest one is suspended: the next is theirs.
  expect(await resolve()).toMatchObject({ organizationId: other.id, roles: ['member'] })
  expect(await resolve(other.id)).toMatchObject({ organizationId: other.id })
  await expect(key()).rejects.toMatchObject({ message: /organization is suspended/ })
  await set('organization', 'Suspend', other.id)
  expect(await resolve()).toMatchObject({ organizationId: null, roles: [] })
  await set('organization', 'Reinstate', acme.id)
  expect(await resolve()).toMatchObject({ organizationId: acme.id })
  await expect(key()).resolves.toBeDefined()
})

test('each change is told once and audited once, however often it is asked for', async () => {
  await newMember()
  const first = await set('organization', 'Suspend', acme.id)
  expect(await set('organization', 'Suspend', acme.id, { reason: 'again' })).toEqual(first)
  await set('organization', 'Reinstate', acme.id)
  expect(await set('organization', 'Reinstate', acme.id)).toEqual({
    organization: { id: acme.id, suspendedAt: null },
  })
  const types = (await eventTypes(policy, acme.id)).filter((it) => /suspended|reinstated/.test(it))
  expect(types).toEqual(['policy.organization.suspended', 'policy.organization.reinstated'])
  const told = (await audits(policy, acme.id)).filter(({ target }) => target === acme.id)
  expect(told.map((it) => [it.action, it.reason])).toEqual([
    ['organization.suspend', reason],
    ['organization.reinstate', reason],
  ])
})

test('the same idempotency key is the same suspension', async () => {
  const userId = await newMember()
  const asked = () =>
    mutate(
      policy,
      actors.operator,
      'personSuspend',
      { id: userId, reason },
      {
        payload: STANDING.person,
        key: '"once"',
      },
    )
  const first = await asked()
  await set('person', 'Reinstate', userId)
  // What was answered is answered again; it is not done again.
  expect(await asked()).toEqual(first)
  expect(await resolve()).toMatchObject({ userId })
})

test('those who do not run the platform may not, nor may a key', async () => {
  const userId = await newMember()
  const input = { id: userId, reason }
  expect(await mutate(policy, acme.OWNER.actor, 'personSuspend', input)).toBe('FORBIDDEN')
  const key = createActor({
    kind: 'api-key',
    organizationId: actors.operator.organizationId,
    roles: ['platform:operator'],
    scopes: ['platform:suspend'],
    credential: newId('key'),
  })
  expect(await mutate(policy, key, 'personSuspend', input)).toBe('FORBIDDEN')
  // Of before they lost the role: the assertion is younger than that.
  const former = await newPerson(policy)
  const stale = createActor({
    kind: 'person',
    subject: former.subject,
    roles: ['platform:operator'],
  })
  expect(await mutate(policy, stale, 'personSuspend', input)).toBe('FORBIDDEN')
  expect(await resolve()).toMatchObject({ userId })
})

test.each([
  ['nobody', { id: newId('usr'), reason }, 'NOT_FOUND'],
  ['an organization for a person', { id: newId('org'), reason }, 'BAD_INPUT'],
  ['no reason', { id: newId('usr'), reason: ' ' }, 'BAD_INPUT'],
  ['a reason of several lines', { id: newId('usr'), reason: 'a\nb' }, 'BAD_INPUT'],
])('%s is refused', async (_what, input, code) => {
  expect(await mutate(policy, actors.operator, 'personSuspend', input)).toBe(code)
})

test('no operator suspends themselves, and the last one stays', async () => {
  const self = actors.operator.subject
  expect(await set('person', 'Suspend', self)).toBe('CONFLICT')
  const second = await newOperator()
  expect(await mutate(policy, second, 'personSuspend', { id: self, reason })).not.toBe('CONFLICT')
  // Now the second is the last, and whoever was suspended undoes nothing.
  expect(await set('person', 'Reinstate', self)).toBe('FORBIDDEN')
  await expect(
    policy.owner.sql.query('UPDATE users SET suspended_at = now() WHERE id = $1', [
      idToUuid(second.subject),
    ]),
  ).rejects.toThrow('at least one operator is not suspended')
  await mutate(policy, second, 'personReinstate', { id: self, reason })
  await set('person', 'Suspend', second.subject)
})

test('of two operators who suspend each other at once, one is refused', async () => {
  for (let round = 0; round < 5; round++) {
    const second = await newOperator()
    const answers = await Promise.all([
      set('person', 'Suspend', second.subject),
      mutate(policy, second, 'personSuspend', { id: actors.operator.subject, reason }),
    ])
    expect(answers.filter((it) => typeof it === 'string')).toHaveLength(1)
    const [left] = await policy.owner.sql.query<{ user_id: string }>(
      `SELECT r.user_id FROM platform_roles r JOIN users u ON u.id = r.user_id
       WHERE u.suspended_at IS NULL`,
    )
    if (left && uuidToId('usr', left.user_id) !== actors.operator.subject) {
      await mutate(policy, second, 'personReinstate', { id: actors.operator.subject, reason })
      await set('person', 'Suspend', second.subject)
    }
  }
})

test('two by hand at once, by other transactions: the database refuses one of them', async () => {
  const second = await newOperator()
  const { promise, resolve: bothHave } = Promise.withResolvers<void>()
  let waiting = 2
  const outcomes = await Promise.allSettled(
    [actors.operator.subject, second.subject].map((id) =>
      policy.owner.sqlTransaction(async (sql) => {
        await sql.query('UPDATE users SET suspended_at = now() WHERE id = $1', [idToUuid(id)])
        if (--waiting === 0) bothHave()
        await promise
      }),
    ),
  )
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  await policy.owner.sql.query('UPDATE users SET suspended_at = NULL WHERE id = $1', [
    idToUuid(actors.operator.subject),
  ])
  await policy.owner.sql.query('UPDATE users SET suspended_at = now() WHERE id = $1', [
    idToUuid(second.subject),
  ])
})

async function newOperator() {
  const { subject: userId } = await newPerson(policy)
  await createDirectoryWrites(policy.owner.sql).addPlatformRole(userId, 'operator')
  return createActor({ kind: 'person', subject: userId, roles: ['platform:operator'] })
}
