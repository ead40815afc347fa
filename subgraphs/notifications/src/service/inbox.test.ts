import { randomBytes } from 'node:crypto'
import type { Actor } from '@berth/platform/actor'
import { createCursors } from '@berth/platform/cursor'
import { type Id, newId, newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createHints, type Hints, openRedis } from '@berth/platform/pubsub'
import { testDatabase, testRedis } from '@berth/platform/test-kit/index'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { userChannel } from '../channels.ts'
import { type NotificationsDatabase, openNotificationsDatabase } from '../database.ts'
import { type InboxStatus, inboxStatuses } from '../domain/notification.ts'
import type { InboxEvent } from '../model.ts'
import { appendNotifications } from '../store/deliver.ts'
import { personActor, uuidOf } from '../test-notifications.ts'
import { createInbox } from './inbox.ts'

const scope = new AsyncDisposableStack()
const log = createLog({ service: 'notifications', instance: 'notifications-1', level: 'silent' })
const cursors = createCursors(randomBytes(32))
let database: NotificationsDatabase
let ownerDatabase: NotificationsDatabase
let hints: Hints

beforeAll(async () => {
  const { appUrl, ownerUrl } = scope.use(await testDatabase('notifications'))
  database = scope.adopt(openNotificationsDatabase(appUrl), (it) => it.close())
  ownerDatabase = scope.adopt(openNotificationsDatabase(ownerUrl), (it) => it.close())
  const redis = scope.use(await testRedis())
  const connection = scope.adopt(openRedis(redis.url, log), (it) => it.disconnect())
  hints = scope.adopt(createHints(connection, log), (it) => it.close())
})
afterAll(() => scope.disposeAsync())

const inboxWith = (heard: Pick<Hints, 'subscribe'> = hints, pollSeconds = 5) =>
  createInbox({ database, cursors, hints: heard, pollSeconds })

/** @param hinted with what probability the hint is sent */
async function deliver(userId: Id<'usr'>, count = 1, hinted = 1): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const news = {
      eventId: newUuid(),
      occurredAt: new Date(),
      organizationId: null,
      kind: 'ALLOCATION_RUNNING',
      reason: null,
      allocationId: null,
    } as const
    await database.sqlTransaction((sql) => appendNotifications(sql, news, [userId]))
    if (Math.random() < hinted) await hints.publish(userChannel(userId), '')
  }
}

async function take(events: AsyncIterator<InboxEvent>, count: number): Promise<InboxEvent[]> {
  const taken: InboxEvent[] = []
  while (taken.length < count) {
    const { value, done } = await events.next()
    if (done) break
    taken.push(value)
  }
  return taken
}

const asked = (actor: Actor, idempotencyKey: string | null = null) => ({ actor, idempotencyKey })

const upTo = (count: number) => Array.from({ length: count }, (_, i) => BigInt(i + 1))

test('a subscriber that reconnects while events pour in gets each once, in order', async () => {
  const actor = personActor(newId('usr'))
  const total = 300
  const seen: bigint[] = []
  await deliver(actor.subject)
  let cursor = (await inboxWith().page(actor, {})).pageInfo.endCursor
  const writers = Promise.all([1, 2, 3].map(() => deliver(actor.subject, total / 3, 0.5)))
  while (seen.length < total) {
    const events = await inboxWith(hints, 0.05).follow(actor, cursor)
    for (const event of await take(
      events,
      Math.min(1 + Math.floor(Math.random() * 20), total - seen.length),
    )) {
      seen.push(event.position)
      cursor = event.cursor
    }
    await events.return?.()
  }
  await writers
  expect(seen).toEqual(upTo(total + 1).slice(1))
})

test('a hint brings a notification at once, and no hint at all a little later', async () => {
  const actor = personActor(newId('usr'))
  const hinted = await inboxWith(hints, 3_600).follow(actor, null)
  const deaf = { subscribe: () => () => undefined }
  const unhinted = await inboxWith(deaf, 0.05).follow(actor, null)
  const waiting = [take(hinted, 3), take(unhinted, 3)]
  await deliver(actor.subject, 3)
  for (const events of await Promise.all(waiting)) {
    expect(events.map(({ position }) => position)).toEqual(upTo(3))
    expect(events.at(-1)?.counts).toEqual({ unseen: 3, unread: 3, version: 3 })
  }
  await hinted.return?.()
  await unhinted.return?.()
})

test('without a cursor it starts with the next one', async () => {
  const actor = personActor(newId('usr'))
  await deliver(actor.subject, 2)
  const events = await inboxWith().follow(actor, null)
  const next = take(events, 1)
  await deliver(actor.subject, 1)
  expect((await next).map(({ position }) => position)).toEqual([3n])
  await events.return?.()
})

test('the cursors of a page and of the stream are the same', async () => {
  const actor = personActor(newId('usr'))
  await deliver(actor.subject, 3)
  const { edges } = await inboxWith().page(actor, { first: 3 })
  const events = await inboxWith().follow(actor, edges.at(-1)?.cursor ?? null)
  const followed = await take(events, 2)
  expect(followed.map(({ cursor }) => cursor)).toEqual([edges[1]?.cursor, edges[0]?.cursor])
  await events.return?.()
})

test('ending a subscription that waits ends it at once, and hears no more hints', async () => {
  const unsubscribe = vi.fn()
  const subscribe = vi.fn(() => unsubscribe)
  const events = await inboxWith({ subscribe }, 3_600).follow(personActor(newId('usr')), null)
  const waiting = events.next()
  await vi.waitFor(() => expect(subscribe).toHaveBeenCalled())
  await events.return?.()
  expect(await waiting).toEqual({ done: true, value: undefined })
  await vi.waitFor(() => expect(unsubscribe).toHaveBeenCalledOnce())
})

test('a cursor from before the purge floor, or from a future that was undone, is reset', async () => {
  const actor = personActor(newId('usr'))
  await deliver(actor.subject, 5)
  const { edges } = await inboxWith().page(actor, { first: 5 })
  const [, fourth, , second] = edges.map(({ cursor }) => cursor)
  const events = await inboxWith(hints, 0.05).follow(actor, second ?? null)
  const user = [uuidOf(actor.subject)]
  await database.sql.query('UPDATE inboxes SET purged_sequence = 3 WHERE user_id = $1::uuid', user)
  await expect(events.next(), 'also while it follows').rejects.toMatchObject({
    code: 'STREAM_RESET',
  })
  await expect(inboxWith().follow(actor, second ?? null)).rejects.toMatchObject({
    code: 'STREAM_RESET',
  })
  const kept = await inboxWith().follow(actor, fourth ?? null)
  expect(await take(kept, 1)).toMatchObject([{ position: 5n }])
  await kept.return?.()

  await ownerDatabase.sql.query(
    'UPDATE inboxes SET last_sequence = 3, unread = 0, unseen = 0 WHERE user_id = $1::uuid',
    user,
  )
  await expect(inboxWith().follow(actor, fourth ?? null)).rejects.toMatchObject({
    code: 'STREAM_RESET',
  })
})

test('another person’s cursor, and a forged one, are refused', async () => {
  const [actor, other] = [personActor(newId('usr')), personActor(newId('usr'))]
  await deliver(actor.subject)
  const cursor = (await inboxWith().page(actor, {})).pageInfo.endCursor ?? ''
  const forged = `${cursor.startsWith('A') ? 'B' : 'A'}${cursor.slice(1)}`
  for (const [who, what] of [
    [other, cursor],
    [actor, forged],
    [actor, ''],
  ] as const) {
    await expect(inboxWith().follow(who, what)).rejects.toMatchObject({ code: 'BAD_INPUT' })
  }
})

test('however deliveries and marks interleave, marks go forward and counts are what they count', async () => {
  const statusOf = fc.constantFrom<InboxStatus>(...inboxStatuses)
  const step = fc.oneof(
    fc.record({ deliver: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ mark: fc.array(fc.nat(30), { minLength: 1, maxLength: 5 }), status: statusOf }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const actor = personActor(newId('usr'))
      const inbox = inboxWith()
      const model: InboxStatus[] = [] // By sequence, from 1.
      let version = 0
      for (const it of steps) {
        if ('deliver' in it) {
          await deliver(actor.subject, it.deliver, 0)
          model.push(...Array.from({ length: it.deliver }, () => 'UNSEEN' as const))
        } else if (model.length > 0) {
          const { nodes } = await inbox.page(actor, { first: 100, statuses: inboxStatuses })
          const marked = [...new Set(it.mark.map((n) => n % model.length))]
          const ids = marked.map((n) => nodes[model.length - 1 - n]?.id ?? '')
          const { notifications } = await inbox.mark(asked(actor), ids, it.status)
          for (const n of marked) {
            const rank = Math.max(
              ...[model[n] ?? 'UNSEEN', it.status].map((s) => inboxStatuses.indexOf(s)),
            )
            model[n] = inboxStatuses[rank] ?? 'DISMISSED'
          }
          expect(notifications.map(({ status }) => status)).toEqual(marked.map((n) => model[n]))
        }
        const counts = await inbox.counts(actor)
        const count = (...statuses: InboxStatus[]) =>
          model.filter((it) => statuses.includes(it)).length
        expect(counts).toMatchObject({ unseen: count('UNSEEN'), unread: count('UNSEEN', 'SEEN') })
        expect(counts.version).toBeGreaterThanOrEqual(version)
        version = counts.version
      }
      const { nodes } = await inbox.page(actor, { first: 100, statuses: inboxStatuses })
      expect(nodes.map(({ status }) => status).reverse()).toEqual(model)
    }),
    { numRuns: 25 },
  )
})

test('marks and deliveries at once leave the counts true', async () => {
  const actor = personActor(newId('usr'))
  const inbox = inboxWith()
  await deliver(actor.subject, 20, 0)
  const { nodes } = await inbox.page(actor, { first: 20 })
  const ids = nodes.map(({ id }) => id)
  await Promise.all([
    ...inboxStatuses.flatMap((status) =>
      [1, 2, 3].map(() => inbox.mark(asked(actor), ids, status)),
    ),
    ...[1, 2, 3].map(() => deliver(actor.subject, 10, 0)),
  ])
  expect(await inbox.counts(actor)).toMatchObject({ unseen: 30, unread: 30 })
  const kept = await inbox.page(actor, { first: 100, statuses: inboxStatuses })
  expect(kept.nodes.filter(({ status }) => status === 'DISMISSED')).toHaveLength(20)
})

test('marking what is there already changes nothing, the version neither', async () => {
  const actor = personActor(newId('usr'))
  const inbox = inboxWith()
  await deliver(actor.subject, 1, 0)
  const ids = (await inbox.page(actor, {})).nodes.map(({ id }) => id)
  const { counts } = await inbox.mark(asked(actor), ids, 'READ')
  expect(counts).toEqual({ unseen: 0, unread: 0, version: 2 })
  expect((await inbox.mark(asked(actor), [...ids, ...ids], 'SEEN')).counts).toEqual(counts)
})

test('under a key, marks are made once; a repetition tells how the same ones are now', async () => {
  const actor = personActor(newId('usr'))
  const inbox = inboxWith()
  await deliver(actor.subject, 3, 0)
  const [third = '', second = '', first = ''] = (await inbox.page(actor, {})).nodes.map(
    ({ id }) => id,
  )
  const once = asked(actor, 'my-first')
  const copies = await Promise.allSettled(
    Array.from({ length: 10 }, () => inbox.mark(once, [first, second], 'SEEN')),
  )
  const refusals = copies.flatMap((it) => (it.status === 'rejected' ? [it.reason.code] : []))
  expect(new Set([...refusals, 'IDEMPOTENCY_IN_FLIGHT']).size).toBe(1)
  expect((await inbox.counts(actor)).version, 'three deliveries and one mark').toBe(4)

  await inbox.mark(asked(actor), [first], 'DISMISSED')
  const again = await inbox.mark(once, [first, second], 'SEEN')
  expect(again.notifications.map(({ status }) => status)).toEqual(['DISMISSED', 'SEEN'])
  expect(again.counts).toEqual({ unseen: 1, unread: 2, version: 5 })
  for (const [ids, status] of [
    [[third], 'SEEN'],
    [[first, second], 'READ'],
  ] as const) {
    await expect(inbox.mark(once, ids, status)).rejects.toMatchObject({
      code: 'IDEMPOTENCY_MISMATCH',
    })
  }
  expect((await inbox.counts(actor)).version).toBe(5)

  // The same key of somebody else is another, and one whose marks failed is free.
  const other = personActor(newId('usr'))
  await deliver(other.subject, 1, 0)
  const theirs = (await inbox.page(other, {})).nodes.map(({ id }) => id)
  const failed = inbox.mark(asked(other, 'my-first'), [...theirs, first], 'READ')
  await expect(failed).rejects.toMatchObject({ code: 'NOT_FOUND' })
  const marked = await inbox.mark(asked(other, 'my-first'), theirs, 'READ')
  expect(marked.counts).toMatchObject({ unread: 0 })
})

test('a follower that heard nothing yet, and a page, both know where to go on', async () => {
  const actor = personActor(newId('usr'))
  await deliver(actor.subject, 2)
  const { streamCursor } = await inboxWith().page(actor, {})
  let start = ''
  const lost = await inboxWith().follow(actor, null, (cursor) => {
    start = cursor
  })
  await lost.return?.()
  await deliver(actor.subject, 2)
  for (const cursor of [start, streamCursor]) {
    const events = await inboxWith().follow(actor, cursor)
    expect((await take(events, 2)).map((it) => it.notification.sequence)).toEqual([3n, 4n])
    await events.return?.()
  }
})
