import type { PrismaClient } from '@berth/prisma/inventory'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { onEvent, onEventWithPrisma, startConsumer } from './consumer.ts'
import { newUuid } from './ids.ts'
import {
  type TestDatabase,
  type TestNats,
  testDatabase,
  testNats,
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
  const admin = openRig({ databaseUrl: kit.ownerUrl, natsUrl: nats.url })
  await admin.database.sql.query('CREATE TABLE effects (nth bigserial, n int)')
  await admin.database.sql.query('GRANT ALL ON effects, effects_nth_seq TO inventory_app')
  await admin.scope.disposeAsync()
  rig = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
})
afterEach(async () => {
  await rig.scope.disposeAsync()
  await kit.drop()
  await nats.drop()
})

const countEffect = onEvent(Probed, async ({ data }, sql) => {
  await sql.query('INSERT INTO effects (n) VALUES ($1::int)', [data.n])
})

function consume(on = [countEffect], of = rig): void {
  startConsumer({
    ...of,
    name: 'tester',
    domain: 'inventory',
    on,
    ackWaitSeconds: 1,
    backoffSeconds: () => 0.05,
  })
}

async function effects(): Promise<number[]> {
  const rows = await rig.database.sql.query<{ n: number }>('SELECT n FROM effects ORDER BY nth')
  return rows.map(({ n }) => n)
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

test.each([
  ['in the middle of an event', 'effect.written', 0],
  ['between commit and acknowledgement', 'consumer.handled', 1],
])('a consumer that is killed %s handles it once', async (_when, fault, repeated) => {
  rig.relay()
  await probe().appendMany(rig.database, 3)
  const place = { databaseUrl: kit.appUrl, natsUrl: nats.url, does: 'consume' as const, fault }
  expect(await replicaThatDies(place)).toBe('SIGKILL')
  consume()
  await until(async () => expect(await effects()).toEqual(upTo(3)))
  const count = await rig.count('berth_consumer_events_total', { outcome: 'repeated' })
  expect(count).toBeGreaterThanOrEqual(repeated)
})

test('replicas share a consumer: each event once, and in order', async () => {
  const replicas = [1, 2, 3].map(() => openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url }))
  rig.relay()
  for (const replica of replicas) consume([countEffect], replica)
  await probe().appendMany(rig.database, 100)
  await until(async () => expect(await effects()).toHaveLength(100))
  expect(await effects()).toEqual(upTo(100))
  await Promise.all(replicas.map((it) => it.scope.disposeAsync()))
})

test('a failing handler holds up what follows, keeps its effects out, and drops nothing', async () => {
  let failures = 0
  const flaky = onEvent(Probed, async ({ data }, sql) => {
    await sql.query('INSERT INTO effects (n) VALUES ($1::int)', [data.n])
    if (data.n === 3 && failures < 4) {
      failures += 1
      throw new Error('not yet')
    }
  })
  rig.relay()
  consume([flaky])
  await probe().appendMany(rig.database, 6)
  await until(async () => expect(await effects()).toHaveLength(6))
  expect(await effects()).toEqual(upTo(6))
  expect(await rig.count('berth_consumer_events_total', { outcome: 'failed' })).toBe(4)
})

test('what cannot be understood is parked with its error, unknown subjects pass', async () => {
  consume()
  let { lastSeq } = await rig.bus.ensureStream('inventory')
  const send = async (subject: string, text: string) => {
    const message = { domain: 'inventory', subject, id: newUuid(), text }
    lastSeq = (await rig.bus.publish({ ...message, afterSeq: lastSeq })).seq
  }
  const id = newUuid()
  const envelope = {
    id,
    type: Probed.type,
    version: 1,
    aggregate: 'probe',
    aggregateId: newUuid(),
    aggregateSeq: 1,
    organizationId: null,
    occurredAt: new Date().toISOString(),
    causationId: null,
    correlationId: null,
    traceparent: null,
    data: { n: 'seven' },
  }
  await send(Probed.subject, JSON.stringify(envelope))
  await send(Probed.subject, '{"id":"\\u0000')
  await send(Probed.subject, '{"id":"\\u0000')
  await send(Probed.subject, 'null')
  await send('berth.inventory.other.thing.v1', 'anything')
  await send(Probed.subject, JSON.stringify({ ...envelope, id: newUuid(), data: { n: 7 } }))
  await until(async () => expect(await effects()).toEqual([7]))
  const parked = await rig.database.sql.query<{ event_id: string; error: string }>(
    'SELECT event_id, error FROM processed_events WHERE error IS NOT NULL ORDER BY event_id',
  )
  expect(parked).toHaveLength(3)
  expect(parked.find((it) => it.event_id === id)?.error).toContain('expected number')
  expect(await rig.count('berth_consumer_events_total', { outcome: 'parked' })).toBe(4)
  expect(await rig.count('berth_consumer_events_total', { outcome: 'ignored' })).toBe(1)
})

test('a stream that is lost and published again brings no effect twice', async () => {
  rig.relay()
  consume()
  const aggregate = probe()
  await aggregate.appendMany(rig.database, 5)
  await until(async () => expect(await effects()).toHaveLength(5))
  await nats.drop()
  await aggregate.appendMany(rig.database, 5)
  await until(async () => expect(await effects()).toEqual(upTo(10)))
  await until(async () =>
    expect(
      await rig.count('berth_consumer_events_total', { outcome: 'repeated' }),
    ).toBeGreaterThanOrEqual(5),
  )
  expect(await effects()).toEqual(upTo(10))
})

test('a handler may use Prisma, in the same one transaction', async () => {
  let failures = 0
  const handler = onEventWithPrisma<typeof Probed, PrismaClient>(
    Probed,
    async ({ data, id }, { prisma, sql }) => {
      expect(await prisma.processedEvent.count({ where: { eventId: id } })).toBe(1)
      await sql.query('INSERT INTO effects (n) VALUES ($1::int)', [data.n])
      failures += 1
      if (failures === 1) throw new Error('not yet')
    },
  )
  startConsumer({ ...rig, name: 'prisma', domain: 'inventory', on: [handler] })
  rig.relay()
  await probe().appendMany(rig.database, 2)
  await until(async () => expect(await effects()).toEqual([1, 2]))
})
