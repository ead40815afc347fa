import type { Sql } from '@berth/platform/database'
import { newId } from '@berth/platform/ids'
import { testDatabase } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPolicyDatabase, type PolicyDatabase } from '../database.ts'
import { domainsOf } from './audit-events.ts'
import { auditedDomains, latestCheckpoints } from './audit-trail.ts'
import { readSettings } from './policies.ts'

// What is read at every decision and every minute costs the same however much there is of others' or
// of old.

const MANY = 20_000
const scope = new AsyncDisposableStack()
let database: PolicyDatabase
beforeAll(async () => {
  const kit = scope.use(await testDatabase('policy'))
  const open = (url: string) => scope.adopt(openPolicyDatabase(url), (it) => it.close())
  database = open(kit.appUrl)
  const admin = open(kit.adminUrl)
  await admin.sqlTransaction(async (sql) => {
    await sql.query('SET LOCAL session_replication_role = replica')
    await sql.query(
      `INSERT INTO policy_values (id, key, level, organization_id, user_id, value)
       SELECT gen_random_uuid(), 'ratelimit.query',
         (ARRAY['GRANT', 'ORGANIZATION', 'USER'])[n % 3 + 1], gen_random_uuid(),
         CASE n % 3 WHEN 2 THEN gen_random_uuid() END, '1'
       FROM generate_series(1, ${MANY}) n`,
    )
    await sql.query(
      `INSERT INTO audit_checkpoints (domain, trail, position, at, statement)
       SELECT 'billing', (ARRAY['*', 'platform'])[n % 2 + 1], n, now(), 'x'
       FROM generate_series(1, ${MANY}) n`,
    )
    await sql.query(
      `INSERT INTO audit_heads (domain, trail, position, hash)
       SELECT 'billing', CASE n WHEN 1 THEN '*' ELSE 'org_' || n END, 1, ''
       FROM generate_series(1, ${MANY}) n`,
    )
  })
  await admin.sql.query('ANALYZE policy_values, audit_checkpoints, audit_heads')
})
afterAll(() => scope.disposeAsync())

/** How many rows of a table, or entries of its indexes, were looked at. */
async function cost(table: string, read: (sql: Sql) => Promise<unknown>): Promise<number> {
  return database.sqlTransaction(async (sql) => {
    await read(sql)
    const [row] = await sql.query<{ rows: bigint }>(
      `SELECT seq_tup_read + idx_tup_fetch + (
         SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = relid
       )::bigint AS rows
       FROM pg_stat_xact_user_tables WHERE relname = $1`,
      [table],
    )
    return Number(row?.rows ?? 0n)
  })
}

test('what holds for a member is read without the settings of others', async () => {
  const whose = { organizationId: newId('org'), userId: newId('usr') }
  const keys = ['ratelimit.query', 'ratelimit.mutation']
  expect(await cost('policy_values', (sql) => readSettings(sql, keys, whose))).toBeLessThan(100)
  const nobody = { organizationId: null, userId: null }
  expect(await cost('policy_values', (sql) => readSettings(sql, keys, nobody))).toBeLessThan(100)
})

test('the latest checkpoints are read without those before them', async () => {
  let found: unknown
  const rows = await cost('audit_checkpoints', async (sql) => {
    found = await latestCheckpoints(sql, 'billing', ['*', 'platform', 'org_none'])
  })
  expect(found).toEqual([
    { trail: '*', position: MANY, statement: 'x' },
    { trail: 'platform', position: MANY - 1, statement: 'x' },
  ])
  expect(rows).toBeLessThan(100)
})

test('the domains of a trail are read without the other trails', async () => {
  expect(await cost('audit_heads', (sql) => domainsOf(sql, 'org_7'))).toBeLessThan(100)
  expect(await cost('audit_heads', (sql) => auditedDomains(sql))).toBeLessThan(100)
})
