import { anonymous, createActor } from '@berth/platform/actor'
import { newId } from '@berth/platform/ids'
import { allocationChanged } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import { membershipAdded } from '@berth/schema/events/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeBy, envelopeOf, personActor, testPlatform, uuidOf } from './test-notifications.ts'

const scope = new AsyncDisposableStack()
let platform: Awaited<ReturnType<typeof testPlatform>>
let url: string

beforeAll(async () => {
  platform = await testPlatform(scope)
  ;({ url } = await platform.start())
})
afterAll(() => scope.disposeAsync())

const INBOX = `query ($first: Int, $after: String, $statuses: [InboxStatus!]) {
  inbox(first: $first, after: $after, statuses: $statuses) {
    nodes { id sequence kind title status allocation { id } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
  inboxCounts { unseen unread version }
}`
const MARK = `mutation ($input: InboxMarkInput!) {
  inboxMark(input: $input) { notifications { id status } counts { unseen unread version } }
}`

async function inboxOf(subject: ReturnType<typeof newId<'usr'>>, variables: object = {}) {
  const { data, errors } = await platform.graphql(url, personActor(subject), INBOX, variables)
  expect(errors).toBeUndefined()
  return data
}

test('what becomes of an allocation reaches who made it, newest first', async () => {
  const creator = newId('usr')
  const allocation = newId('alc')
  const of = { aggregateId: uuidOf(allocation) }
  const { RUNNING, RELEASED, STARTING, FAILED } = allocationChanged
  await platform.publish(STARTING, envelopeOf(STARTING, changeBy(creator, 'STARTING'), of))
  await platform.publish(RUNNING, envelopeOf(RUNNING, changeBy(creator, 'RUNNING'), of))
  const released = changeBy(creator, 'RELEASED', 'NO_BALANCE')
  await platform.publish(RELEASED, envelopeOf(RELEASED, released, of))
  const failed = changeBy(creator, 'FAILED', 'NODE_LOST')
  await platform.publish(FAILED, envelopeOf(FAILED, failed))

  await expect.poll(async () => (await inboxOf(creator)).inbox.nodes.length).toBe(3)
  const { inbox, inboxCounts } = await inboxOf(creator)
  expect(inbox.nodes).toMatchObject([
    { sequence: 3, title: expect.stringMatching(/failed: its node was lost$/) },
    { sequence: 2, title: `Allocation ${allocation} was released: the credit ran out` },
    { sequence: 1, kind: 'ALLOCATION_RUNNING', status: 'UNSEEN', allocation: { id: allocation } },
  ])
  expect(inboxCounts).toEqual({ unseen: 3, unread: 3, version: 3 })
})

test('credit that ran out is told to those who can pay, and to no other organization', async () => {
  const organizationId = newId('org')
  const people = { OWNER: newId('usr'), ADMIN: newId('usr'), BILLING: newId('usr') }
  const others = { MEMBER: newId('usr'), VIEWER: newId('usr') }
  const stranger = newId('usr')
  for (const [role, userId] of [...Object.entries(people), ...Object.entries(others)]) {
    const fields = { organizationId: uuidOf(organizationId) }
    await platform.publish(membershipAdded, envelopeOf(membershipAdded, { userId, role }, fields))
  }
  await platform.publish(
    membershipAdded,
    envelopeOf(membershipAdded, { userId: stranger, role: 'OWNER' }),
  )
  await expect.poll(() => platform.db.sql.query('SELECT 1 FROM recipients')).toHaveLength(6)

  const fields = { organizationId: uuidOf(organizationId) }
  await platform.publish(balanceDepleted, envelopeOf(balanceDepleted, { currency: 'USD' }, fields))
  for (const person of Object.values(people)) {
    await expect
      .poll(async () => (await inboxOf(person)).inbox.nodes)
      .toMatchObject([{ sequence: 1, kind: 'BALANCE_DEPLETED', allocation: null }])
  }
  for (const person of [...Object.values(others), stranger]) {
    expect((await inboxOf(person)).inbox.nodes).toEqual([])
  }
})

test('an inbox is paged to its end, each notification once', async () => {
  const creator = newId('usr')
  const { RUNNING } = allocationChanged
  for (let i = 0; i < 7; i += 1) {
    await platform.publish(RUNNING, envelopeOf(RUNNING, changeBy(creator, 'RUNNING')))
  }
  await expect.poll(async () => (await inboxOf(creator)).inbox.nodes.length).toBe(7)
  const seen: number[] = []
  let after: string | null = null
  do {
    const { inbox } = await inboxOf(creator, { first: 3, after })
    expect(inbox.pageInfo.hasPreviousPage).toBe(after !== null)
    seen.push(...inbox.nodes.map(({ sequence }: { sequence: number }) => sequence))
    after = inbox.pageInfo.hasNextPage ? inbox.pageInfo.endCursor : null
  } while (after)
  expect(seen).toEqual([7, 6, 5, 4, 3, 2, 1])
})

test('a mark takes an Idempotency-Key, and refuses it for another request', async () => {
  const person = newId('usr')
  const { RUNNING } = allocationChanged
  await platform.publish(RUNNING, envelopeOf(RUNNING, changeBy(person, 'RUNNING')))
  await expect.poll(async () => (await inboxOf(person)).inbox.nodes.length).toBe(1)
  const ids = [(await inboxOf(person)).inbox.nodes[0].id]
  const actor = personActor(person)
  const mark = (status: string, key: string) =>
    platform.graphql(url, actor, MARK, { input: { ids, status } }, { 'idempotency-key': key })
  const first = await mark('SEEN', '"my-first"')
  expect(first.data.inboxMark.notifications).toEqual([{ id: ids[0], status: 'SEEN' }])
  expect(await mark('SEEN', 'my-first')).toEqual(first)
  expect((await mark('READ', 'my-first')).errors?.[0]?.extensions.code).toBe('IDEMPOTENCY_MISMATCH')
  expect((await mark('READ', '"x')).errors?.[0]?.extensions.code).toBe('BAD_INPUT')
})

test('nobody reads, marks or follows another one’s inbox', async () => {
  const [owner, other] = [newId('usr'), newId('usr')]
  const { RUNNING } = allocationChanged
  for (const person of [owner, other]) {
    await platform.publish(RUNNING, envelopeOf(RUNNING, changeBy(person, 'RUNNING')))
    await expect.poll(async () => (await inboxOf(person)).inbox.nodes.length).toBe(1)
  }
  const { nodes, pageInfo } = (await inboxOf(owner)).inbox
  const ask = (query: string, variables: object) =>
    platform.graphql(url, personActor(other), query, variables)
  const refusals: [string, object, string][] = [
    [MARK, { input: { ids: [nodes[0].id], status: 'READ' } }, 'NOT_FOUND'],
    [MARK, { input: { ids: [newId('ntf')], status: 'READ' } }, 'NOT_FOUND'],
    [MARK, { input: { ids: [newId('usr')], status: 'READ' } }, 'BAD_INPUT'],
    [MARK, { input: { ids: [], status: 'READ' } }, 'BAD_INPUT'],
    [INBOX, { after: pageInfo.endCursor }, 'BAD_INPUT'],
    [INBOX, { first: 101 }, 'BAD_INPUT'],
  ]
  for (const [query, variables, code] of refusals) {
    expect((await ask(query, variables)).errors?.[0]?.extensions.code).toBe(code)
  }
  const ENTITY = `query ($id: ID!) { _entities(representations: [{ __typename: "Notification", id: $id }]) { __typename } }`
  expect((await ask(ENTITY, { id: nodes[0].id })).data._entities).toEqual([null])
  expect((await inboxOf(owner)).inbox.nodes[0].status).toBe('UNSEEN')
})

test.each([
  ['nobody', anonymous, 'UNAUTHENTICATED'],
  ['a person without a role', createActor({ kind: 'person', subject: newId('usr') }), 'FORBIDDEN'],
  [
    'a key',
    createActor({ kind: 'api-key', roles: ['member'], scopes: ['inbox:read'] }),
    'FORBIDDEN',
  ],
  [
    'a shared answer',
    createActor({ kind: 'person', authority: 'ORGANIZATION', roles: ['member'] }),
    'INTERNAL',
  ],
] as const)('%s has no inbox', async (_who, actor, code) => {
  const { errors } = await platform.graphql(url, actor, '{ inboxCounts { unread } }')
  expect(errors?.[0]?.extensions.code).toBe(code)
})
