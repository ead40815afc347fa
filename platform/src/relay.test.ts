import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { newUuid } from './ids.ts'
import { latestPosition, oldestPosition, readEventsAfter } from './outbox.ts'
import { createHints, openRedis, outboxChannel } from './pubsub.ts'
import { assignPositions } from './relay-positions.ts'
import { createPublisher } from './relay-publisher.ts'
import { sweep } from './retention.ts'
import {
  armFault,
  ownServer,
  type TestDatabase,
  type TestNats,
  testDatabase,
  testNats,
  testRedis,
  until,
} from './test-kit/index.ts'
import { Probed, probe } from './test-kit/probe-events.ts'
import { openRig, type Rig } from './test-kit/relay-rig.ts'
import { replicaThatDies } from './test-kit/replica.ts'

let kit: TestDatabase
let nats: TestNats
let rig: Rig
beforeEach(async () => {
  kit = await testDatabase('inventory')
  nats = await testNats()
  rig = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
})
afterEach(async () => {
  await rig.scope.disposeAsync()
  await kit.drop()
  await nats.drop()
})

/** Ids of all messages of the stream, in its order. */
function listen(to = rig.bus): string[] {
  const ids: string[] = []
  to.consume({
    domain: 'inventory',
    durable: `listener-${newUuid()}`,
    handler: async ({ text }) => void ids.push((JSON.parse(text) as { id: string }).id),
  })
  return ids
}

async function positions(): Promise<{ id: string; stream_seq: bigint | null }[]> {
  return rig.database.sql.query('SELECT id, stream_seq FROM outbox ORDER BY stream_seq')
}

function unpublished(): Promise<object[]> {
  return rig.database.sql.query('SELECT id FROM outbox WHERE published_at IS NULL')
}

test('who inserted first and commits last is not skipped by a reader', async () => {
  rig.relay()
  const committed = Promise.withResolvers<void>()
  const slowInserted = Promise.withResolvers<string>()
  const slow = rig.database.sqlTransaction(async (sql) => {
    slowInserted.resolve(await probe().append(sql))
    await committed.promise
  })
  const slowId = await slowInserted.promise
  const [fastId] = await probe().appendMany(rig.database, 1)
  const read = async (after: bigint) => readEventsAfter(rig.database.sql, { after, limit: 10 })
  await until(async () => expect(await read(0n)).toHaveLength(1))
  expect((await read(0n))[0]).toMatchObject({ position: 1n, envelope: { id: fastId } })
  committed.resolve()
  await slow
  await until(async () => expect(await read(1n)).toHaveLength(1))
  expect((await read(1n))[0]).toMatchObject({ position: 2n, envelope: { id: slowId } })
  expect(await latestPosition(rig.database.sql)).toBe(2n)
})

test('two relays and racing writers: gapless positions, each event once, aggregates in order', async () => {
  const second = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
  rig.relay()
  second.relay()
  const published = listen()
  const committed = new Map<string, string[]>()
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 5 }), { maxLength: 6 }),
      async (writers) => {
        await Promise.all(
          writers.map(async (pauses) => {
            const { aggregateId, append } = probe()
            for (const pause of pauses) {
              const id = await rig.database.sqlTransaction(async (sql) => {
                const appended = await append(sql)
                await sleep(pause)
                return appended
              })
              committed.set(aggregateId, [...(committed.get(aggregateId) ?? []), id])
            }
          }),
        )
      },
    ),
    { numRuns: 15 },
  )
  const total = [...committed.values()].flat().length
  await until(() => expect(published).toHaveLength(total))
  const given = await positions()
  expect(given.map((it) => it.stream_seq)).toEqual(given.map((_, i) => BigInt(i + 1)))
  expect(published).toEqual(given.map((it) => it.id))
  for (const ids of committed.values()) {
    expect(published.filter((id) => ids.includes(id))).toEqual(ids)
  }
  const leaders = await Promise.all([rig, second].map((it) => it.count('berth_relay_leader')))
  expect(leaders.toSorted()).toEqual([0, 1])
  await second.scope.disposeAsync()
})

const RELAY_CONNECTIONS = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'inventory-relay'
  AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')`

test('when the leader’s connection is killed, one is elected again and goes on', async () => {
  const second = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
  const admin = openRig({ databaseUrl: kit.adminUrl, natsUrl: nats.url })
  rig.relay()
  second.relay()
  const published = listen()
  const appended: string[] = []
  for (let round = 0; round < 4; round += 1) {
    appended.push(...(await probe().appendMany(rig.database, 5)))
    await until(() => expect(published).toHaveLength(appended.length))
    const killed = await admin.database.sql.query(RELAY_CONNECTIONS)
    expect(killed).toHaveLength(1)
    await until(async () =>
      expect(
        (await rig.count('berth_relay_leader')) + (await second.count('berth_relay_leader')),
      ).toBe(1),
    )
  }
  expect(published).toEqual(appended)
  await second.scope.disposeAsync()
  await admin.scope.disposeAsync()
})

test('a leader that is killed between publishing and recording loses and doubles nothing', async () => {
  const published = listen()
  const appended = await probe().appendMany(rig.database, 120)
  const place = { databaseUrl: kit.appUrl, natsUrl: nats.url, does: 'relay' as const }
  for (let round = 0; round < 2; round += 1) {
    expect(await replicaThatDies({ ...place, fault: 'relay.published' })).toBe('SIGKILL')
    // These come behind what is on the bus and unrecorded.
    appended.push(...(await probe().appendMany(rig.database, 10)))
  }
  const recorded = 'SELECT FROM outbox WHERE published_at IS NOT NULL'
  expect(await rig.database.sql.query(recorded)).toEqual([])
  expect(published).not.toEqual([])
  rig.relay()
  await until(() => expect(published).toHaveLength(appended.length))
  expect(published).toEqual(appended)
})

test('a stream that was deleted is filled again from the outbox', async () => {
  rig.relay()
  const published = listen()
  const appended = await probe().appendMany(rig.database, 10)
  await until(() => expect(published).toHaveLength(10))
  const { connect } = await import('nats')
  const { host, username, password } = new URL(nats.url)
  const connection = await connect({ servers: host, user: username, pass: password })
  await (await connection.jetstreamManager()).streams.delete(nats.streamOf('inventory'))
  await connection.close()
  appended.push(...(await probe().appendMany(rig.database, 3)))
  const again = listen()
  await until(() => expect(again).toEqual(appended))
  // The one that was listening meets all of them again, by the same ids.
  await until(() => expect(published).toEqual([...appended.slice(0, 10), ...appended]))
})

test('a leader that was replaced records nothing over the stream of its successor', async () => {
  const published = listen()
  const appended = await probe().appendMany(rig.database, 5)
  await assignPositions(rig.database)
  const publish = createPublisher({ ...rig, domain: 'inventory' }, new AbortController().signal)
  // It stalls after it has published; meanwhile the stream is lost and its successor starts.
  const stalled = Promise.withResolvers<void>()
  const disarm = armFault('relay.published', async () => {
    disarm()
    await until(() => expect(published).toHaveLength(5))
    await nats.drop()
    rig.relay()
    await until(() => expect(published).toHaveLength(10))
    await rig.database.sql.query('UPDATE outbox SET published_at = NULL')
    stalled.resolve()
  })
  await expect(publish()).rejects.toThrow('replaced')
  await stalled.promise
  await until(async () => expect(await unpublished()).toEqual([]))
  expect(published).toEqual([...appended, ...appended])
})

test('stopping does not wait for a bus that is not there', async () => {
  const own = openRig({ databaseUrl: kit.appUrl, natsUrl: 'nats://127.0.0.1:1' })
  own.relay()
  await probe().appendMany(own.database, 1)
  await until(async () => expect(await latestPosition(own.database.sql)).toBe(1n))
  const start = performance.now()
  await own.scope.disposeAsync()
  expect(performance.now() - start).toBeLessThan(4_000)
})

test('while the bus is away positions and hints go on, and then all is published', async () => {
  await using server = await ownServer('nats')
  const redis = await testRedis()
  const connection = openRedis(redis.url, rig.log)
  const hints = createHints(connection, rig.log)
  const own = openRig({ databaseUrl: kit.appUrl, natsUrl: server.url })
  const organizationId = newUuid()
  const heard: (string | null)[] = []
  hints.subscribe(outboxChannel('inventory', organizationId), (text) => heard.push(text))
  await until(() => expect(heard).toEqual([null]))
  own.relay({ hints })
  const published = listen(own.bus)
  const appended = await probe(organizationId).appendMany(own.database, 5)
  await until(() => expect(published).toEqual(appended))
  await server.stop()
  appended.push(...(await probe(organizationId).appendMany(own.database, 5)))
  await until(() => expect(heard).toEqual([null, '5', '10']))
  expect(await oldestPosition(own.database.sql)).toBe(1n)
  await server.start()
  // What the server lost of the first five when it was killed comes again.
  await until(() => expect(firstOccurrences(published)).toEqual(appended))
  await own.scope.disposeAsync()
  await hints.close()
  connection.disconnect()
  await redis.drop()
})

test('a bus that was rolled back to an earlier state gets what it lost', async () => {
  await using server = await ownServer('nats')
  const own = openRig({ databaseUrl: kit.appUrl, natsUrl: server.url })
  own.relay()
  const seen = listen(own.bus)
  const appended = await probe().appendMany(own.database, 5)
  await until(() => expect(seen).toHaveLength(5))
  await server.stop('SIGTERM')
  server.snapshot()
  await server.start()
  appended.push(...(await probe().appendMany(own.database, 5)))
  await until(() => expect(seen).toHaveLength(10))
  await server.stop('SIGTERM')
  server.restore()
  await server.start()
  appended.push(...(await probe().appendMany(own.database, 1)))
  const again = () => seen.slice(10).filter((id) => !appended.slice(0, 5).includes(id))
  await until(() => expect(firstOccurrences(again())).toEqual(appended.slice(5)))
  await own.scope.disposeAsync()
})

function firstOccurrences(ids: string[]): string[] {
  return [...new Set(ids)]
}

test('while Postgres refuses connections the relay waits, and goes on', async () => {
  const admin = openRig({
    databaseUrl: kit.adminUrl.replace(/\/[^/]*$/, '/postgres'),
    natsUrl: nats.url,
  })
  const name = new URL(kit.appUrl).pathname.slice(1)
  rig.relay()
  const published = listen()
  const appended = await probe().appendMany(rig.database, 3)
  await until(() => expect(published).toHaveLength(3))
  await admin.database.sql.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  await admin.database.sql.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1',
    [name],
  )
  await until(async () => expect(await rig.count('berth_relay_failures_total')).toBeGreaterThan(1))
  await admin.database.sql.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
  appended.push(...(await probe().appendMany(rig.database, 3)))
  await until(() => expect(published).toEqual(appended))
  await admin.scope.disposeAsync()
})

test('an event that breaks its contract, or is too large for the bus, is refused', async () => {
  const { appendEvent } = await import('./outbox.ts')
  const event = { aggregateId: newUuid(), aggregateSeq: 1, organizationId: null }
  const sql = rig.database.sql
  await expect(appendEvent(sql, Probed, { ...event, data: { n: 0.5 } })).rejects.toThrow()
  const data = { n: 1, x: 1 }
  await expect(appendEvent(sql, Probed, { ...event, data })).rejects.toThrow()
  const causationId = 'x'.repeat(70_000)
  await expect(appendEvent(sql, Probed, { ...event, data: { n: 1 }, causationId })).rejects.toThrow(
    RangeError,
  )
  expect(await positions()).toEqual([])
})

test('retention deletes a prefix of the stream only, and tells where it begins', async () => {
  rig.relay()
  await probe().appendMany(rig.database, 6)
  const { sql } = rig.database
  await until(async () => expect(await unpublished()).toEqual([]))
  const admin = openRig({ databaseUrl: kit.adminUrl, natsUrl: nats.url })
  // The third is younger than those around it: its transaction took long to commit.
  await admin.database.sql.query(
    `UPDATE outbox SET created_at = now() - interval '8 days' WHERE stream_seq <> 3`,
  )
  expect(await sweep(sql)).toBe(false)
  expect(await oldestPosition(sql)).toBe(3n)
  expect((await positions()).map((it) => it.stream_seq)).toEqual([3n, 4n, 5n, 6n])
  await admin.database.sql.query(`UPDATE outbox SET created_at = now() - interval '8 days'`)
  await sweep(sql)
  expect(await positions()).toEqual([])
  expect(await oldestPosition(sql)).toBe(7n)
  expect(await latestPosition(sql)).toBe(6n)
  await admin.scope.disposeAsync()
})
