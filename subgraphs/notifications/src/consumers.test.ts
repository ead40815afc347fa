import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Bus, Delivery } from '@berth/platform/bus'
import { startConsumer } from '@berth/platform/consumer'
import type { Envelope } from '@berth/platform/contract'
import { type Id, newId, newUuid, uuidToId } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import { allocationChanged } from '@berth/schema/events/allocations'
import { balanceDepleted } from '@berth/schema/events/billing'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createHandlers } from './consumers.ts'
import { openNotificationsDatabase } from './database.ts'
import { noteMembership } from './store/recipients.ts'
import { changeBy, envelopeOf, testPlatform, uuidOf } from './test-notifications.ts'

const scope = new AsyncDisposableStack()
const { RUNNING } = allocationChanged
let platform: Awaited<ReturnType<typeof testPlatform>>

beforeAll(async () => {
  platform = await testPlatform(scope)
})
afterAll(() => scope.disposeAsync())

const upTo = (count: number) => Array.from({ length: count }, (_, i) => BigInt(i + 1))

async function sequencesOf(userId: Id<'usr'>): Promise<bigint[]> {
  const rows = await platform.db.sql.query<{ sequence: bigint }>(
    'SELECT sequence FROM notifications WHERE user_id = $1::uuid ORDER BY sequence',
    [uuidOf(userId)],
  )
  return rows.map(({ sequence }) => sequence)
}

async function expectExactly(userId: Id<'usr'>, count: number): Promise<void> {
  expect(await sequencesOf(userId)).toEqual(upTo(count))
  expect(
    await platform.db.sql.query(
      'SELECT last_sequence, unseen, unread, version FROM inboxes WHERE user_id = $1::uuid',
      [uuidOf(userId)],
    ),
  ).toEqual([
    { last_sequence: BigInt(count), unseen: count, unread: count, version: BigInt(count) },
  ])
}

/** A replica of the consumers with a pool of its own, given messages in whatever order one likes. */
function replica(): Record<string, (delivery: Delivery) => Promise<void>> {
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
  const handlers = createHandlers({ publish: async () => undefined })
  for (const [domain, on] of Object.entries(handlers)) {
    const metrics = createMetrics({ service: 'notifications' })
    const options = { bus, database, name: 'notifications', log: platform.log, metrics, scope }
    startConsumer({ ...options, domain, on })
  }
  return handle
}

const deliveryOf = (subject: string, envelope: Envelope): Delivery => ({
  subject,
  text: JSON.stringify(envelope),
  attempt: 1,
})

test('replicas that get the same events at once, and again: gapless inboxes, nothing twice', async () => {
  const organizationId = newId('org')
  const people = Array.from({ length: 6 }, () => newId('usr'))
  for (const userId of people) {
    await noteMembership(platform.db.sql, {
      membershipId: newUuid(),
      sequence: 1n,
      organizationId: uuidOf(organizationId),
      userId,
      role: 'OWNER',
    })
  }
  const fields = { organizationId: uuidOf(organizationId) }
  const deliveries = [
    // Locks all six inboxes; the others one each: whoever locks out of order deadlocks.
    ...Array.from({ length: 20 }, () =>
      deliveryOf(balanceDepleted.subject, envelopeOf(balanceDepleted, { currency: 'USD' }, fields)),
    ),
    ...people.flatMap((userId) =>
      Array.from({ length: 15 }, () =>
        deliveryOf(RUNNING.subject, envelopeOf(RUNNING, changeBy(userId, 'RUNNING'), fields)),
      ),
    ),
  ]
  const replicas = [replica(), replica()]
  const shuffled = () => deliveries.toSorted(() => Math.random() - 0.5)
  await Promise.all(
    [...replicas, ...replicas].map(async (handle) => {
      const queue = shuffled()
      const worker = async () => {
        for (let next = queue.pop(); next; next = queue.pop()) {
          await handle[next.subject.split('.')[1] ?? '']?.(next)
        }
      }
      await Promise.all([worker(), worker(), worker()])
    }),
  )
  for (const userId of people) await expectExactly(userId, 35)
})

test('an event that comes again when it is no longer remembered is still not told twice', async () => {
  const userId = newId('usr')
  const delivery = deliveryOf(RUNNING.subject, envelopeOf(RUNNING, changeBy(userId, 'RUNNING')))
  const { allocations } = replica()
  await allocations?.(delivery)
  await platform.db.sql.query('DELETE FROM processed_events')
  await allocations?.(delivery)
  await expectExactly(userId, 1)
})

test('an event from the end of a month, told in the next one, lies in its own month', async () => {
  const userId = newId('usr')
  const now = new Date()
  const occurredAt = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth()) - 1).toISOString()
  const delivery = deliveryOf(
    RUNNING.subject,
    envelopeOf(RUNNING, changeBy(userId, 'RUNNING'), { occurredAt }),
  )
  const { allocations } = replica()
  await allocations?.(delivery)
  await platform.db.sql.query('DELETE FROM processed_events')
  await allocations?.(delivery)
  await expectExactly(userId, 1)
  const [row] = await platform.db.sql.query<{ id: string; month: string }>(
    'SELECT id, tableoid::regclass::text AS month FROM notifications WHERE user_id = $1::uuid',
    [uuidOf(userId)],
  )
  expect(row?.month).toContain(occurredAt.slice(0, 7).replace('-', '_'))
  expect(uuidToId('ntf', row?.id ?? '')).toMatch(/^ntf_/)
})

test('the service has no way around the counter', async () => {
  const statements = [
    `INSERT INTO notifications (id, occurred_at, retention, user_id, sequence, kind)
     VALUES (gen_random_uuid(), now(), 'STANDARD', gen_random_uuid(), 1, 'X')`,
    'INSERT INTO inboxes (user_id) VALUES (gen_random_uuid())',
    'UPDATE inboxes SET last_sequence = last_sequence + 1',
    'UPDATE notifications SET sequence = sequence + 1',
    'DELETE FROM inboxes',
  ]
  for (const statement of statements) {
    await expect(platform.db.sql.query(statement)).rejects.toThrow('permission denied')
  }
})

test.each(['consumer.handled', 'notifications.delivered'])(
  'a replica that is killed between commit and acknowledgement (%s): once, all the same',
  async (point) => {
    await using own = new AsyncDisposableStack()
    const { start, publish, config, db } = await testPlatform(own)
    const userId = newId('usr')
    const count = 5
    for (let i = 0; i < count; i += 1) {
      await publish(RUNNING, envelopeOf(RUNNING, changeBy(userId, 'RUNNING')))
    }
    const { BERTH_PEERS, NODE_PROBE_ALLOWED_CIDRS: _none, ...texts } = config
    const victim = spawn(process.execPath, [path.join(import.meta.dirname, 'main.ts')], {
      stdio: 'ignore',
      env: {
        ...Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, String(value)])),
        BERTH_PEERS: JSON.stringify(BERTH_PEERS),
        BERTH_FAULTS: point,
      },
    })
    const [, signal] = await once(victim, 'exit')
    expect(signal).toBe('SIGKILL')
    const stored = () => db.sql.query<{ n: bigint }>('SELECT count(*) AS n FROM notifications')
    expect((await stored())[0]?.n, 'it had committed').toBe(1n)

    await start(own)
    await vi.waitFor(async () => expect((await stored())[0]?.n).toBe(BigInt(count)), 15_000)
    const rows = await db.sql.query<{ sequence: bigint }>(
      'SELECT sequence FROM notifications ORDER BY sequence',
    )
    expect(rows.map(({ sequence }) => sequence)).toEqual(upTo(count))
    expect(await db.sql.query('SELECT last_sequence, unseen FROM inboxes')).toEqual([
      { last_sequence: BigInt(count), unseen: count },
    ])
  },
  40_000,
)
