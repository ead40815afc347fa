import { afterEach, beforeEach, expect, test } from 'vitest'
import { createActor } from './actor.ts'
import { appendAudit } from './audit.ts'
import { type RelayedAudit, startAuditRelay } from './audit-relay.ts'
import { deriveUuid, newId, newUuid, timeOfUuid } from './ids.ts'
import { withinRequest } from './request-scope.ts'
import type { Sql } from './sql.ts'
import {
  type TestDatabase,
  type TestNats,
  testDatabase,
  testNats,
  until,
} from './test-kit/index.ts'
import { openRig, type Rig } from './test-kit/relay-rig.ts'
import { replicaThatDies } from './test-kit/replica.ts'

const actor = createActor({ kind: 'person', subject: newId('usr'), credential: newId('ses') })

let kit: TestDatabase
let nats: TestNats
let rig: Rig
let admin: Rig
beforeEach(async () => {
  kit = await testDatabase('inventory')
  nats = await testNats()
  rig = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
  admin = openRig({ databaseUrl: kit.adminUrl, natsUrl: nats.url })
})
afterEach(async () => {
  await rig.scope.disposeAsync()
  await admin.scope.disposeAsync()
  await kit.drop()
  await nats.drop()
})

function audit(sql: Sql = rig.database.sql, given: { id?: string; reason?: string } = {}) {
  return appendAudit(sql, { organizationId: null, actor, action: 'a.b', target: 'x', ...given })
}

async function auditMany(count: number): Promise<string[]> {
  const ids: string[] = []
  for (let n = 0; n < count; n += 1) ids.push(await audit())
  return ids
}

/** Starts a replica's relay. @returns the batches that policy took */
function relay({ database, log, metrics, scope }: Rig = rig, sending?: () => void | Promise<void>) {
  const batches: RelayedAudit[][] = []
  startAuditRelay({
    database,
    domain: 'inventory',
    send: async (batch) => {
      await sending?.()
      batches.push(batch)
    },
    log,
    metrics,
    scope,
    pollSeconds: 0.1,
  })
  return batches
}

function queued(): Promise<object[]> {
  return rig.database.sql.query('SELECT id FROM audit_relay ORDER BY seq')
}

const idsOf = (batches: RelayedAudit[][]) => batches.flat().map(({ id }) => id)

test('what was audited arrives whole, with the request that it was done in', async () => {
  const organizationId = newUuid()
  const id = await withinRequest({ requestId: 'request-7', origin: 'command:terminal' }, () =>
    appendAudit(rig.database.sql, {
      organizationId,
      actor,
      action: 'slot.restore',
      target: 'slt_1',
      reason: 'it is sound',
      facts: { n: 1.5 },
      before: { state: 'QUARANTINED' },
      after: { state: 'FREE', holder: null },
    }),
  )
  const batches = relay()
  await until(() => expect(batches).toHaveLength(1))
  const [row] = batches.flat()
  expect(row).toMatchObject({
    id,
    organizationId,
    action: 'slot.restore',
    target: 'slt_1',
    reason: 'it is sound',
    requestId: 'request-7',
    origin: 'command:terminal',
  })
  const { actor: who, facts, before, after } = row as RelayedAudit
  expect([who, facts, before, after].map((it) => JSON.parse(it ?? ''))).toEqual([
    {
      kind: 'person',
      authority: 'PERSON',
      sub: actor.subject,
      cred: actor.credential,
      roles: [],
      scopes: [],
    },
    { n: 1.5 },
    { state: 'QUARANTINED' },
    { state: 'FREE', holder: null },
  ])
  await until(async () => expect(await queued()).toEqual([]))
})

test('no row gets past the queue, and none gets into it by itself', async () => {
  const id = newUuid()
  const byHand = (rowId: string, at: Date) =>
    rig.database.sql.query(
      `INSERT INTO audit_events (id, at, actor, action, target, facts)
       VALUES ($1::uuid, $2::timestamptz, '{}', 'by.hand', 'x', '{}')`,
      [rowId, at],
    )
  for (const by of [newUuid(), newUuid(), newUuid()]) await byHand(by, timeOfUuid(by))
  await expect(byHand(newUuid(), new Date(0)), 'no time of its own').rejects.toThrow()
  await audit(rig.database.sql, { id })
  await audit(rig.database.sql, { id })
  // In a partition made since the trigger was.
  await audit(rig.database.sql, { id: deriveUuid(new Date(Date.now() + 40 * 86_400_000), 'next') })
  const undone = rig.database.sqlTransaction(async (sql) => {
    await audit(sql)
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  expect(await queued()).toHaveLength(5)
  const forged = rig.database.sql.query(
    'INSERT INTO audit_relay (id, at) VALUES ($1::uuid, now())',
    [id],
  )
  await expect(forged).rejects.toMatchObject({ code: '42501' })
})

test('who inserted first and commits last comes last, and is not left out', async () => {
  const committed = Promise.withResolvers<void>()
  const inserted = Promise.withResolvers<string>()
  const slow = rig.database.sqlTransaction(async (sql) => {
    inserted.resolve(await audit(sql))
    await committed.promise
  })
  const late = await inserted.promise
  const early = await auditMany(3)
  // It commits after the others were read, and before they leave the queue.
  const batches = relay(rig, async () => {
    committed.resolve()
    await slow
  })
  await until(() => expect(idsOf(batches)).toEqual([...early, late]))
})

test('while policy is away all waits, and says so; then it comes in order and in bounded batches', async () => {
  let isAway = true
  const batches = relay(rig, () => {
    if (isAway) throw new Error('policy is away')
  })
  const ids = await auditMany(450)
  await until(async () => expect(await rig.count('berth_audit_backlog_rows')).toBe(450))
  await until(async () =>
    expect(await rig.count('berth_audit_relay_failures_total')).toBeGreaterThan(0),
  )
  expect(await rig.count('berth_audit_backlog_seconds')).toBeGreaterThan(0)
  isAway = false
  await until(() => expect(idsOf(batches)).toEqual(ids))
  for (const batch of batches) expect(batch.length).toBeLessThanOrEqual(200)
  await until(async () => expect(await rig.count('berth_audit_backlog_rows')).toBe(0))
  expect(await rig.count('berth_audit_relayed_total')).toBe(450)
})

test('large rows come in batches that a request can carry; what exceeds that is refused at once', async () => {
  const reason = 'x'.repeat(120_000)
  const ids = [...(await auditMany(2)), await audit(rig.database.sql, { reason })]
  ids.push(await audit(rig.database.sql, { reason }), await audit(rig.database.sql, { reason }))
  const batches = relay()
  await until(() => expect(idsOf(batches)).toEqual(ids))
  for (const batch of batches) expect(JSON.stringify(batch).length).toBeLessThan(512 * 1024)
  await expect(audit(rig.database.sql, { reason: reason + reason })).rejects.toThrow(RangeError)
})

test('of two replicas one relays; when its connection is killed, one is elected again', async () => {
  const second = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
  const batches = [relay(rig), relay(second)]
  const ids: string[] = []
  const seen = () => batches.flatMap((it) => idsOf(it))
  for (let round = 0; round < 3; round += 1) {
    ids.push(...(await auditMany(3)))
    await until(() => expect(new Set(seen())).toEqual(new Set(ids)))
    const killed = await admin.database.sql.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'inventory-audit-relay'
         AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)`,
    )
    expect(killed.length).toBeLessThanOrEqual(1)
  }
  await second.scope.disposeAsync()
})

test('a relay that is killed after it has sent sends again, by the same ids, and loses nothing', async () => {
  await admin.database.sql.query(
    'CREATE TABLE inventory.effects (seq bigint GENERATED ALWAYS AS IDENTITY, id uuid)',
  )
  await admin.database.sql.query('GRANT ALL ON inventory.effects TO inventory_app')
  const ids = await auditMany(5)
  const place = { databaseUrl: kit.appUrl, natsUrl: nats.url, does: 'audit' as const }
  for (let round = 0; round < 2; round += 1) {
    expect(await replicaThatDies({ ...place, fault: 'audit.sent' })).toBe('SIGKILL')
    expect(await queued()).toHaveLength(5)
  }
  const sent = await rig.database.sql.query<{ id: string }>('SELECT id FROM effects ORDER BY seq')
  expect(sent.map(({ id }) => id)).toEqual([...ids, ...ids])
  const batches = relay()
  await until(() => expect(idsOf(batches)).toEqual(ids))
  await until(async () => expect(await queued()).toEqual([]))
})

test('a row that was deleted before policy had it is told of, and holds up nothing', async () => {
  const [gone = '', kept] = await auditMany(2)
  await admin.database.sql.query('DELETE FROM inventory.audit_events WHERE id = $1::uuid', [gone])
  const batches = relay()
  await until(() => expect(idsOf(batches)).toEqual([kept]))
  await until(async () => expect(await rig.count('berth_audit_lost_total')).toBe(1))
})

test('stopping does not wait for a policy that does not answer', async () => {
  const own = openRig({ databaseUrl: kit.appUrl, natsUrl: nats.url })
  await auditMany(1)
  const asked = Promise.withResolvers<void>()
  startAuditRelay({
    ...own,
    domain: 'inventory',
    send: () => {
      asked.resolve()
      return new Promise(() => undefined)
    },
  })
  await asked.promise
  await own.scope.disposeAsync()
  expect(await queued()).toHaveLength(1)
})
