import { newId, newUuid } from '@berth/platform/ids'
import { testDatabase } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type NotificationsDatabase, openNotificationsDatabase } from '../database.ts'
import { uuidOf } from '../test-notifications.ts'
import { appendNotifications } from './deliver.ts'

const scope = new AsyncDisposableStack()
let database: NotificationsDatabase

beforeAll(async () => {
  const { appUrl } = scope.use(await testDatabase('notifications'))
  database = scope.adopt(openNotificationsDatabase(appUrl), (it) => it.close())
})
afterAll(() => scope.disposeAsync())

const news = () => ({
  eventId: newUuid(),
  occurredAt: new Date(),
  organizationId: newUuid(),
  kind: 'BALANCE_DEPLETED' as const,
  reason: null,
  allocationId: null,
})

test('whatever order the callers name people in, deliveries at once do not deadlock', async () => {
  const people = Array.from({ length: 40 }, () => newId('usr'))
  // Outside a transaction, where a deadlock is not tried again.
  await Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      appendNotifications(database.sql, news(), i % 2 ? people : people.toReversed()),
    ),
  )
  const rows = await database.sql.query(
    `SELECT last_sequence, (SELECT count(DISTINCT sequence) FROM notifications n WHERE n.user_id = i.user_id) AS distinct
     FROM inboxes i WHERE user_id = ANY ($1::uuid[])`,
    [people.map(uuidOf)],
  )
  expect(rows).toHaveLength(40)
  for (const row of rows) expect(row).toEqual({ last_sequence: 60n, distinct: 60n })
})

test('what is delivered again is not delivered, also to some of those people', async () => {
  const [first, second] = [newId('usr'), newId('usr')]
  const same = news()
  expect(await appendNotifications(database.sql, same, [first])).toEqual([
    { userId: first, sequence: 1n },
  ])
  expect(await appendNotifications(database.sql, same, [first, second])).toEqual([
    { userId: second, sequence: 1n },
  ])
})

test('a delivery that is undone leaves no gap', async () => {
  const person = newId('usr')
  await expect(
    database.sqlTransaction(async (sql) => {
      await appendNotifications(sql, news(), [person])
      throw new Error('undone')
    }),
  ).rejects.toThrow('undone')
  expect(await appendNotifications(database.sql, news(), [person])).toMatchObject([
    { sequence: 1n },
  ])
})
