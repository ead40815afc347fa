import type { Bus, Delivery } from '@berth/platform/bus'
import { startConsumer } from '@berth/platform/consumer'
import type { EventContract } from '@berth/platform/contract'
import { createCursors } from '@berth/platform/cursor'
import { type Id, newId, newUuid } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import { loadKeys } from '@berth/platform/trusted-keys'
import { allocationChanged } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import {
  membershipAdded,
  membershipChanged,
  membershipRemoved,
  type OrganizationRole,
} from '@berth/schema/events/policy'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createHandlers } from './consumers.ts'
import { openNotificationsDatabase } from './database.ts'
import { changeBy, envelopeOf, personActor, testPlatform, uuidOf } from './test-notifications.ts'

const { RUNNING } = allocationChanged
const scope = new AsyncDisposableStack()
let platform: Awaited<ReturnType<typeof testPlatform>>
let app: Awaited<ReturnType<typeof platform.start>>
let replicas: ((delivery: Delivery) => Promise<void>)[]

let organizationId: Id<'org'>
let person: Id<'usr'>

beforeAll(async () => {
  platform = await testPlatform(scope)
  app = await platform.start()
  replicas = [replica(), replica()]
})
afterAll(() => scope.disposeAsync())
beforeEach(() => {
  organizationId = newId('org')
  person = newId('usr')
})

/** Handles whatever it is given, in whatever order. */
function replica(): (delivery: Delivery) => Promise<void> {
  const database = scope.adopt(openNotificationsDatabase(platform.config.DATABASE_URL), (it) =>
    it.close(),
  )
  const handle: Record<string, (delivery: Delivery) => Promise<void>> = {}
  const bus = {
    consume({ domain, handler }: Parameters<Bus['consume']>[0]) {
      handle[domain] = handler
      return { stop: async () => undefined }
    },
  } as Bus
  for (const [domain, on] of Object.entries(createHandlers(app.hints))) {
    const metrics = createMetrics({ service: 'notifications' })
    const options = { bus, database, name: 'notifications', log: platform.log, metrics, scope }
    startConsumer({ ...options, domain, on })
  }
  return async (delivery) => handle[delivery.subject.split('.')[1] ?? '']?.(delivery)
}

const take = (delivery: Delivery) => replicas[0]?.(delivery)

function deliveryOf(contract: EventContract, data: unknown, more: object = {}): Delivery {
  const fields = { organizationId: uuidOf(organizationId), ...more }
  const text = JSON.stringify(envelopeOf(contract, data, fields))
  return { subject: contract.subject, text, attempt: 1 }
}

/** The events of one membership. */
function membership(userId = person) {
  const aggregateId = newUuid()
  let aggregateSeq = 0
  const next = (contract: EventContract, more: object) => {
    aggregateSeq += 1
    return deliveryOf(contract, { userId, ...more }, { aggregateId, aggregateSeq })
  }
  return {
    added: (role: OrganizationRole = 'OWNER') => next(membershipAdded, { role }),
    changed: (role: OrganizationRole) => next(membershipChanged, { role }),
    removed: () => next(membershipRemoved, {}),
  }
}

const depleted = (more = {}) => deliveryOf(balanceDepleted, { currency: 'USD' }, more)
const running = (more = {}) => deliveryOf(RUNNING, changeBy(person, 'RUNNING'), more)

const INBOX = `{ inbox { nodes { id sequence kind status } } inboxCounts { unseen unread version } }`

async function inbox() {
  const { data, errors } = await platform.graphql(app.url, personActor(person), INBOX)
  expect(errors).toBeUndefined()
  const { nodes } = data.inbox as { nodes: { id: string; sequence: number; status: string }[] }
  return { nodes, sequences: nodes.map((it) => it.sequence), counts: data.inboxCounts }
}

test('who is removed is told nothing more, and what they were told as a member is hidden', async () => {
  const { added, removed } = membership()
  const other = { organizationId: null }
  for (const it of [added(), depleted(), running(), running(other), removed()]) await take(it)
  expect(await inbox()).toMatchObject({ sequences: [3], counts: { unseen: 1, unread: 1 } })
  for (const it of [depleted(), running()]) await take(it)
  expect((await inbox()).sequences).toEqual([3])
  await take(running(other))
  expect((await inbox()).sequences).toEqual([4, 3])
})

test('who returns sees it again, as it was, and what is told from then on', async () => {
  const first = membership()
  for (const it of [first.added(), depleted(), running()]) await take(it)
  const [seen] = (await inbox()).nodes
  const MARK = `mutation ($input: InboxMarkInput!) { inboxMark(input: $input) { counts { unread } } }`
  const mark = (status: string) =>
    platform.graphql(app.url, personActor(person), MARK, { input: { ids: [seen?.id], status } })
  expect((await mark('READ')).errors).toBeUndefined()
  await take(first.removed())
  expect(await inbox()).toMatchObject({ sequences: [], counts: { unseen: 0, unread: 0 } })
  expect((await mark('DISMISSED')).errors?.[0]?.extensions.code).toBe('NOT_FOUND')
  await take(running())
  for (const it of [membership().added('BILLING'), depleted()]) await take(it)
  expect(await inbox()).toMatchObject({ sequences: [3, 2, 1], counts: { unseen: 2, unread: 2 } })
  expect((await inbox()).nodes.map(({ status }) => status)).toEqual(['UNSEEN', 'READ', 'UNSEEN'])
})

test('those are told who have the role now', async () => {
  const { added, changed } = membership()
  for (const it of [added('MEMBER'), depleted()]) await take(it)
  expect((await inbox()).sequences).toEqual([])
  for (const it of [changed('BILLING'), depleted(), changed('VIEWER'), depleted()]) await take(it)
  expect((await inbox()).sequences).toEqual([1])
})

test('in whatever order the events come, and how often: the same', async () => {
  const [before, after] = [membership(), membership()]
  const events = [
    ...[before.added('OWNER'), before.changed('ADMIN'), before.removed()],
    ...[after.added('MEMBER'), after.changed('VIEWER'), after.changed('BILLING')],
  ]
  const gone = membership(newId('usr'))
  const left = [gone.added('OWNER'), gone.changed('ADMIN'), gone.removed()]
  for (let round = 0; round < 20; round += 1) {
    await platform.db.sql.query('DELETE FROM processed_events')
    const queue = [...events, ...left, ...events, ...left].toSorted(() => Math.random() - 0.5)
    const workers = [...replicas, ...replicas].map(async (handle) => {
      for (let next = queue.pop(); next; next = queue.pop()) await handle(next)
    })
    await Promise.all(workers)
  }
  const rows = await platform.db.sql.query(
    'SELECT role, is_member FROM recipients WHERE organization_id = $1::uuid ORDER BY role',
    [uuidOf(organizationId)],
  )
  expect(rows).toEqual([
    { role: 'BILLING', is_member: true },
    { role: null, is_member: false },
    { role: null, is_member: false },
  ])
  await take(depleted())
  expect((await inbox()).sequences).toEqual([1])
})

test('removed while they are told: nothing is shown afterwards, and the counts are right', async () => {
  const { added, removed } = membership()
  await take(added())
  const deliveries = [
    ...Array.from({ length: 40 }, () => [depleted(), running()]).flat(),
    removed(),
  ]
  const queue = deliveries.toSorted(() => Math.random() - 0.5)
  const workers = [...replicas, ...replicas].map(async (handle) => {
    for (let next = queue.pop(); next; next = queue.pop()) await handle(next)
  })
  await Promise.all(workers)
  expect(await inbox()).toMatchObject({ sequences: [], counts: { unseen: 0, unread: 0 } })
  await take(membership().added())
  const { sequences, counts } = await inbox()
  expect(sequences.length).toBeLessThan(80)
  expect(counts).toMatchObject({ unseen: sequences.length, unread: sequences.length })
})

test('a stream goes on past what is hidden, however much', async () => {
  const { added, removed } = membership()
  await take(added())
  for (let i = 0; i < 250; i += 1) await take(running())
  const actor = personActor(person)
  await using all = scopeOf(await app.inbox.follow(actor, streamStart()))
  expect((await all.next()).value?.position).toBe(1n)
  await take(removed())
  await using later = scopeOf(await app.inbox.follow(actor, streamStart()))
  const next = later.next()
  await take(running({ organizationId: null }))
  expect((await next).value?.position).toBe(251n)
})

test('what is known of those who came before is replaced by what is told of them', async () => {
  await platform.db.sql.query(
    `INSERT INTO recipients (organization_id, user_id, role, membership_id)
     VALUES ($1::uuid, $2::uuid, 'OWNER', gen_random_uuid())`,
    [uuidOf(organizationId), uuidOf(person)],
  )
  await take(depleted())
  expect((await inbox()).sequences).toEqual([1])
  const { removed } = membership()
  await take(removed())
  await take(depleted())
  expect((await inbox()).sequences).toEqual([])
})

/** A cursor from before the first. */
function streamStart(): string {
  const { cursorKey } = loadKeys(platform.config.BERTH_KEYS_DIR, 'notifications')
  return createCursors(cursorKey).encode({ stream: 'inbox', owner: person, position: 0n })
}

function scopeOf<T>(iterator: AsyncIterableIterator<T>) {
  return Object.assign(iterator, {
    async [Symbol.asyncDispose]() {
      await iterator.return?.()
    },
  })
}
