import { afterAll, beforeAll, expect, test } from 'vitest'
import { newUuid } from './ids.ts'
import { latestPosition, oldestPosition, outboxNotification, readEventsAfter } from './outbox.ts'
import { assignPositions } from './relay-positions.ts'
import { type TestDatabase, testDatabase, until } from './test-kit/index.ts'
import { probe } from './test-kit/probe-events.ts'
import { openRig, type Rig } from './test-kit/relay-rig.ts'

let kit: TestDatabase
let rig: Rig
beforeAll(async () => {
  kit = await testDatabase('inventory')
  rig = openRig({ databaseUrl: kit.appUrl, natsUrl: 'nats://127.0.0.1:1' })
})
afterAll(async () => {
  await rig.scope.disposeAsync()
  await kit.drop()
})

test('before the first event there is nothing, and nothing has been missed', async () => {
  const { sql } = rig.database
  expect(await latestPosition(sql)).toBe(0n)
  expect(await oldestPosition(sql)).toBe(1n)
  expect(await readEventsAfter(sql, { after: 0n, limit: 10 })).toEqual([])
})

test('events are read by organization, by aggregate, in pages, and only with a position', async () => {
  const { database } = rig
  const [one, other] = [newUuid(), newUuid()]
  const [a, b, platform] = [probe(one), probe(other), probe(null)]
  for (let i = 0; i < 3; i += 1) {
    for (const it of [a, b, platform]) await it.appendMany(database, 1)
  }
  const read = async (filter: object) => {
    const events = await readEventsAfter(database.sql, { after: 0n, limit: 100, ...filter })
    return events.map(({ position }) => position)
  }
  expect(await read({})).toEqual([])
  await assignPositions(database)
  expect(await read({})).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n])
  expect(await read({ organizationId: one })).toEqual([1n, 4n, 7n])
  expect(await read({ organizationId: one, after: 4n })).toEqual([7n])
  expect(await read({ aggregate: 'probe', aggregateId: b.aggregateId, limit: 2 })).toEqual([2n, 5n])
  expect(await read({ organizationId: one, aggregateId: b.aggregateId })).toEqual([])
  expect(await read({ aggregate: 'other' })).toEqual([])
})

test('the envelope is the contract’s, and of one aggregate no number is used twice', async () => {
  const { database } = rig
  const organizationId = newUuid()
  const { append, aggregateId } = probe(organizationId)
  const id = await append(database.sql)
  await assignPositions(database)
  const [event] = await readEventsAfter(database.sql, { after: 0n, limit: 1, organizationId })
  expect(event?.envelope).toEqual({
    id,
    type: 'inventory.probe.counted',
    version: 1,
    aggregate: 'probe',
    aggregateId,
    aggregateSeq: 1,
    organizationId,
    occurredAt: expect.stringMatching(/^\d{4}-.*Z$/),
    causationId: null,
    correlationId: null,
    traceparent: null,
    data: { n: 1 },
  })
  const again = probe(organizationId, aggregateId)
  await expect(again.append(database.sql)).rejects.toMatchObject({ code: '23505' })
})

test('appending notifies the relay at commit, and not when it is undone', async () => {
  const { pool } = rig.database
  const listener = await pool.connect()
  const heard: string[] = []
  listener.on('notification', ({ channel }) => heard.push(channel))
  await listener.query(`LISTEN ${outboxNotification('inventory')}`)
  const undone = rig.database.sqlTransaction(async (sql) => {
    await probe().append(sql)
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow()
  await probe().appendMany(rig.database, 1)
  await until(() => expect(heard).toEqual(['outbox_inventory']))
  listener.release(true)
})
