import { fakeClock } from '@berth/platform/clock'
import { type Id, newId, newUuid } from '@berth/platform/ids'
import { ensurePartitions } from '@berth/platform/partitions'
import { testDatabase } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type NotificationsDatabase, openNotificationsDatabase } from '../database.ts'
import type { NotificationKind } from '../domain/notification.ts'
import { appendNotifications } from '../store/deliver.ts'
import { setHidden } from '../store/hide.ts'
import { inboxState, notificationsBefore } from '../store/inbox.ts'
import { purge } from './purge.ts'

const DAY_MS = 86_400_000
const scope = new AsyncDisposableStack()
const clock = fakeClock(new Date())
let database: NotificationsDatabase

beforeAll(async () => {
  const { appUrl } = scope.use(await testDatabase('notifications'))
  database = scope.adopt(openNotificationsDatabase(appUrl), (it) => it.close())
  await ensurePartitions(database.sql, 0, daysAgo(500))
})
afterAll(() => scope.disposeAsync())

const daysAgo = (days: number) => new Date(clock.now().getTime() - days * DAY_MS)

async function deliver(
  userId: Id<'usr'>,
  days: number,
  kind: NotificationKind,
  organizationId: string | null = null,
): Promise<void> {
  const news = {
    eventId: newUuid(),
    occurredAt: daysAgo(days),
    organizationId,
    kind,
    reason: null,
    allocationId: null,
  }
  await database.sqlTransaction((sql) => appendNotifications(sql, news, [userId]))
}

const kept = async (userId: Id<'usr'>) => {
  const page = { statuses: ['UNSEEN' as const], before: null, limit: 100 }
  const rows = await notificationsBefore(database.sql, userId, page)
  return rows.map(({ sequence }) => sequence).reverse()
}

test('what is over its retention goes, the floor rises over it, and the counts follow', async () => {
  const people = Array.from({ length: 3 }, () => newId('usr'))
  for (const person of people) {
    await deliver(person, 450, 'BALANCE_DEPLETED')
    await deliver(person, 200, 'BALANCE_DEPLETED')
    await deliver(person, 200, 'ALLOCATION_FAILED')
    await deliver(person, 130, 'ALLOCATION_RUNNING')
    await deliver(person, 1, 'ALLOCATION_RUNNING')
  }
  // Two replicas at once, as they all do it.
  const [one = 0, two = 0] = await Promise.all([purge(database, clock), purge(database, clock)])
  expect(one + two).toBeGreaterThan(0)
  for (const person of people) {
    expect(await kept(person)).toEqual([2n, 5n])
    expect(await inboxState(database.sql, person)).toMatchObject({
      lastSequence: 5n,
      purgedSequence: 4n,
      unseen: 2,
      unread: 2,
    })
  }
  expect(await purge(database, clock), 'again, with nothing to do').toBe(0)
  await deliver(people[0] ?? newId('usr'), 0, 'ALLOCATION_RUNNING')
  expect(await kept(people[0] ?? newId('usr'))).toEqual([2n, 5n, 6n])
})

test('only whole months that are over are dropped', async () => {
  const months = await database.sql.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'notifications_standard'::regclass ORDER BY 1`,
  )
  const oldest = daysAgo(90).toISOString().slice(0, 7).replace('-', '_')
  expect(months[0]?.name).toBe(`notifications_standard_${oldest}`)
})

test('what is hidden goes with the rest, and was in no count', async () => {
  await ensurePartitions(database.sql, 0, daysAgo(500))
  const [person, organizationId] = [newId('usr'), newUuid()]
  await deliver(person, 200, 'ALLOCATION_RUNNING', organizationId)
  await deliver(person, 200, 'ALLOCATION_RUNNING')
  await deliver(person, 1, 'ALLOCATION_RUNNING', organizationId)
  await deliver(person, 1, 'ALLOCATION_RUNNING')
  await database.sqlTransaction((sql) => setHidden(sql, person, organizationId, true))
  await purge(database, clock)
  expect(await kept(person)).toEqual([4n])
  expect(await inboxState(database.sql, person)).toMatchObject({ purgedSequence: 2n, unseen: 1 })
  await database.sqlTransaction((sql) => setHidden(sql, person, organizationId, false))
  expect(await kept(person)).toEqual([3n, 4n])
  expect(await inboxState(database.sql, person)).toMatchObject({ unseen: 2, unread: 2 })
})
