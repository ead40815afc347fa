import { PrismaClient } from '@berth/prisma/billing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase, sqlState } from './database.ts'
import { newUuid } from './ids.ts'
import { type TestDatabase, testDatabase } from './test-kit/index.ts'

let kit: TestDatabase
let database: Database<PrismaClient>
beforeAll(async () => {
  kit = await testDatabase('billing')
  database = openDatabase({
    url: kit.appUrl,
    schema: 'billing',
    client: (adapter) => new PrismaClient({ adapter }),
  })
})
afterAll(async () => {
  await database.close()
  await kit.drop()
})

const VALUES = `SELECT 9007199254740993::bigint AS big, 1.2300::numeric AS exact,
  '2026-01-31T23:59:59.123Z'::timestamptz AS at, '2026-01-31'::date AS day,
  '{"a":[1,null]}'::jsonb AS json, NULL::text AS nothing, true AS yes, 7::int AS small,
  ARRAY[1,NULL]::bigint[] AS bigs, ARRAY['a','b,c'] AS texts, '\\x00ff'::bytea AS bytes`
const EXPECTED = {
  big: 9007199254740993n,
  exact: '1.2300',
  at: new Date('2026-01-31T23:59:59.123Z'),
  day: new Date('2026-01-31T00:00:00Z'),
  json: { a: [1, null] },
  nothing: null,
  yes: true,
  small: 7,
  bigs: [1n, null],
  texts: ['a', 'b,c'],
  bytes: Buffer.from([0, 255]),
}

test('pool, bare transaction and Prisma transaction give the same values', async () => {
  expect(await database.sql.query(VALUES)).toEqual([EXPECTED])
  expect(await database.sqlTransaction((sql) => sql.query(VALUES))).toEqual([EXPECTED])
  expect(await database.transaction(({ sql }) => sql.query(VALUES))).toEqual([EXPECTED])
})

test('Prisma and raw SQL share a transaction, and roll back together', async () => {
  const key = newUuid()
  const row = { scope: 's', key, operation: 'o', requestHash: 'h', expiresAt: new Date() }
  await expect(
    database.transaction(async ({ prisma, sql }) => {
      await prisma.idempotencyKey.create({ data: row })
      expect(await sql.query('SELECT FROM idempotency_keys WHERE key = $1', [key])).toHaveLength(1)
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  expect(await database.prisma.idempotencyKey.count({ where: { key } })).toBe(0)

  await database.transaction(async ({ prisma, sql }) => {
    await prisma.idempotencyKey.create({ data: row })
    await sql.query('UPDATE idempotency_keys SET operation = $2 WHERE key = $1', [key, 'raw'])
  })
  expect(await database.prisma.idempotencyKey.findFirst({ where: { key } })).toMatchObject({
    operation: 'raw',
  })
})

const insert = `INSERT INTO idempotency_keys (scope, key, operation, request_hash, expires_at)
  VALUES ('s', $1, 'o', 'h', now())`

test('an error that is swallowed inside a transaction is not taken for a commit', async () => {
  const key = newUuid()
  const swallow = async (sql: { query: Database['sql']['query'] }) => {
    await sql.query(insert, [key])
    await sql.query(insert, [key]).catch(() => undefined)
  }
  await expect(database.sqlTransaction(swallow)).rejects.toThrow('rolled back')
  await expect(database.transaction(({ sql }) => swallow(sql))).rejects.toThrow('rolled back')
  expect(await database.prisma.idempotencyKey.count({ where: { key } })).toBe(0)
})

test('unique violations carry their SQLSTATE through every door', async () => {
  const key = newUuid()
  await database.sql.query(insert, [key])
  const data = { scope: 's', key, operation: 'o', requestHash: 'h', expiresAt: new Date() }
  const doors = [
    () => database.sql.query(insert, [key]),
    () => database.transaction(({ sql }) => sql.query(insert, [key])),
    () => database.prisma.idempotencyKey.create({ data }),
    () => database.prisma.$executeRawUnsafe(insert, key),
  ]
  for (const door of doors) {
    expect(sqlState(await door().catch((error: unknown) => error))).toBe('23505')
  }
  expect(sqlState(new Error('other'))).toBeUndefined()
})

test.each(['bare', 'prisma'])('a deadlock is resolved by running again (%s)', async (kind) => {
  const keys = [newUuid(), newUuid()]
  for (const key of keys) await database.sql.query(insert, [key])
  const touch = 'UPDATE idempotency_keys SET operation = operation || $2 WHERE key = $1'
  let attempts = 0
  let touched = 0
  const both = Promise.withResolvers<void>()
  const run = (order: string[], mark: string) => {
    const work = async (sql: { query: Database['sql']['query'] }) => {
      attempts += 1
      await sql.query(touch, [order[0], mark])
      touched += 1
      if (touched === 2) both.resolve()
      await both.promise
      await sql.query(touch, [order[1], mark])
    }
    return kind === 'bare'
      ? database.sqlTransaction(work)
      : database.transaction(({ sql }) => work(sql))
  }
  await Promise.all([run(keys, 'a'), run(keys.toReversed(), 'b')])
  expect(attempts).toBeGreaterThanOrEqual(3)
  const rows = await database.sql.query<{ operation: string }>(
    'SELECT operation FROM idempotency_keys WHERE key = ANY($1)',
    [keys],
  )
  expect(rows.map(({ operation }) => [...operation].sort().join(''))).toEqual(['abo', 'abo'])
})

test('a connection killed within a transaction fails it, and the pool goes on', async () => {
  const killed = database.sqlTransaction(async (sql) => {
    const [row] = await sql.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    await database.sql.query('SELECT pg_terminate_backend($1)', [row?.pid])
    await sql.query('SELECT 1')
  })
  await expect(killed).rejects.toThrow()
  await expect(database.ping()).resolves.toBeUndefined()
})

test('SQL of a transaction that is over is refused', async () => {
  let kept: { query: Database['sql']['query'] } | undefined
  await database.transaction(async ({ sql }) => {
    kept = sql
  })
  await expect(kept?.query('SELECT 1')).rejects.toThrow('over')
})

test('the app role cannot change the audit trail, nor what an event says', async () => {
  for (const statement of [
    'DELETE FROM audit_events',
    `UPDATE audit_events SET action = 'x'`,
    'TRUNCATE audit_events',
    `UPDATE outbox SET envelope = '{}'`,
    'DROP TABLE outbox',
    'CREATE TABLE billing.mine (id int)',
  ]) {
    const error = await database.sql.query(statement).catch((it: unknown) => it)
    expect(sqlState(error), statement).toBe('42501')
  }
})
