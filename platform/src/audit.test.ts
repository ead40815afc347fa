import { PrismaClient } from '@berth/prisma/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createActor } from './actor.ts'
import { appendAudit } from './audit.ts'
import { type Database, openDatabase } from './database.ts'
import { deriveUuid, idToUuid, newId, newUuid, timeOfUuid } from './ids.ts'
import { createLog } from './log.ts'
import { ensurePartitions, keepPartitions } from './partitions.ts'
import { type TestDatabase, testDatabase } from './test-kit/index.ts'

let kit: TestDatabase
let database: Database<PrismaClient>
let admin: Database<PrismaClient>
beforeAll(async () => {
  kit = await testDatabase('policy')
  const open = (url: string) =>
    openDatabase({ url, schema: 'policy', client: (adapter) => new PrismaClient({ adapter }) })
  database = open(kit.appUrl)
  admin = open(kit.adminUrl)
})
afterAll(async () => {
  await database.close()
  await admin.close()
  await kit.drop()
})

const actor = createActor({ kind: 'person', subject: newId('usr'), roles: ['admin'] })
const record = { organizationId: newUuid(), actor, action: 'policy.set', target: 'quota.gpus' }

test('who did what is kept, at the time of its id, as the change itself is', async () => {
  const id = await database.sqlTransaction((sql) =>
    appendAudit(sql, { ...record, reason: 'asked for', facts: { version: 3, was: null } }),
  )
  const row = await database.prisma.auditEvent.findFirst({ where: { id } })
  expect(row).toMatchObject({
    at: timeOfUuid(id),
    organizationId: record.organizationId,
    actor: { kind: 'person', sub: actor.subject, roles: ['admin'] },
    action: 'policy.set',
    target: 'quota.gpus',
    reason: 'asked for',
    facts: { version: 3, was: null },
  })
  const undone = database.sqlTransaction(async (sql) => {
    await appendAudit(sql, { ...record, action: 'policy.undone' })
    throw new Error('undone')
  })
  await expect(undone).rejects.toThrow('undone')
  expect(await database.prisma.auditEvent.count({ where: { action: 'policy.undone' } })).toBe(0)
})

test('an organization is not told where else who acted there belongs, nor as what', async () => {
  const own = newId('org')
  const operator = createActor({
    kind: 'person',
    subject: newId('usr'),
    organizationId: own,
    roles: ['owner', 'platform:operator'],
    credential: newId('ses'),
  })
  const claimsOf = async (organizationId: string | null) => {
    const id = await appendAudit(database.sql, { ...record, organizationId, actor: operator })
    return (await database.prisma.auditEvent.findFirst({ where: { id } }))?.actor
  }
  const { subject: sub, credential: cred } = operator
  const who = { kind: 'person', authority: 'PERSON', sub, cred, scopes: [] }
  expect(await claimsOf(newUuid())).toEqual({ ...who, roles: ['platform:operator'] })
  const whole = { ...who, org: own, roles: ['owner', 'platform:operator'] }
  expect(await claimsOf(idToUuid(own))).toEqual(whole)
  expect(await claimsOf(null), 'the platform is').toEqual(whole)
})

test('a retry under a derived id is one record, also in another month’s partition', async () => {
  const lastMonth = new Date()
  lastMonth.setUTCDate(0)
  const id = deriveUuid(lastMonth, 'the cause')
  for (const _ of [1, 2]) await appendAudit(database.sql, { ...record, id })
  expect(await database.prisma.auditEvent.count({ where: { id } })).toBe(1)
})

test('partitions are made once, by the owner, whoever asks and however many at once', async () => {
  const since = new Date('2031-05-31T23:59:59Z')
  const partitionsOf2031 = `SELECT relname AS name, relowner::regrole::text AS owner FROM pg_class
    WHERE relnamespace = 'policy'::regnamespace AND relname ~ '^audit_events_2031_..$' ORDER BY 1`
  const made = await Promise.all([1, 2, 3, 4].map(() => ensurePartitions(database.sql, 2, since)))
  expect(made.filter((it) => it > 0)).toHaveLength(1)
  const found = await database.sql.query(partitionsOf2031)
  expect(found).toEqual(
    ['05', '06', '07'].map((it) => ({ name: `audit_events_2031_${it}`, owner: 'policy_owner' })),
  )
  // The borders are UTC's, whatever the server's own time zone.
  const last = deriveUuid(new Date('2031-05-31T23:59:59.999Z'), 'last')
  const first = deriveUuid(new Date('2031-06-01T00:00:00.000Z'), 'first')
  for (const id of [last, first]) await appendAudit(database.sql, { ...record, id })
  const inMay = await admin.sql.query<{ id: string }>('SELECT id FROM audit_events_2031_05')
  expect(inMay).toEqual([{ id: last }])
})

test.each([
  ['SELECT ensure_partitions(100000)', '22023'],
  [`SELECT ensure_partitions(1, '1600-01-01')`, '22023'],
  ['SELECT ensure_partitions(-1)', '22023'],
])('%s is refused', async (statement, state) => {
  await expect(database.sql.query(statement)).rejects.toMatchObject({ code: state })
})

test('what searches its path cannot be led astray by the caller’s', async () => {
  // The function runs as the owner: a table of the caller's must not take the place of a real one.
  await database.sqlTransaction(async (sql) => {
    await sql.query('SET LOCAL search_path = pg_temp, policy')
    expect(await ensurePartitions(sql, 1)).toBe(0)
  })
})

test('partitions below a list partition and of a domain’s own tables are made as well', async () => {
  const owner = openDatabase({
    url: kit.ownerUrl,
    schema: 'policy',
    client: (adapter) => new PrismaClient({ adapter }),
  })
  await owner.sql.query(
    `CREATE TABLE kept (id uuid, class text, at timestamptz(3), PRIMARY KEY (id, class, at))
     PARTITION BY LIST (class)`,
  )
  await owner.sql.query(
    `CREATE TABLE kept_short PARTITION OF kept FOR VALUES IN ('short') PARTITION BY RANGE (at)`,
  )
  expect(await ensurePartitions(database.sql, 1)).toBeGreaterThanOrEqual(3)
  await owner.sql.query(`INSERT INTO kept VALUES ($1::uuid, 'short', now())`, [newUuid()])
  await owner.close()
})

test('a service that cannot have its partitions does not start', async () => {
  const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
  await using scope = new AsyncDisposableStack()
  await keepPartitions({ sql: database.sql, log, scope })
  const broken = { query: async () => Promise.reject(new Error('no')) }
  await expect(keepPartitions({ sql: broken, log, scope })).rejects.toThrow('no')
})
