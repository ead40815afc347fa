import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { MigrationError, migrateDomain } from '@berth/prisma/migrate'
import pg from 'pg'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { testDirectory } from '../servers/test-directory.ts'
import { acquireTestServers } from '../servers/test-servers.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

const database = `migrate_${process.pid}`
let adminUrl: string
let url: string
let directory: ReturnType<typeof testDirectory>

beforeEach(async () => {
  directory = testDirectory()
  adminUrl = (await acquireTestServers()).postgresAdminUrl
  url = adminUrl.replace(/postgres$/, database)
  await ask(`CREATE DATABASE ${database}`, adminUrl)
})

afterEach(async () => {
  await ask(`DROP DATABASE ${database} WITH (FORCE)`, adminUrl)
  directory[Symbol.dispose]()
})

async function ask(text: string, at = url): Promise<unknown[]> {
  const client = new pg.Client(at)
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

function write(name: string, sql: string): void {
  mkdirSync(path.join(directory.path, name), { recursive: true })
  writeFileSync(path.join(directory.path, name, 'migration.sql'), sql)
}

const migrate = () => migrateDomain({ url, schema: 'red', dir: directory.path })
const history = () =>
  ask(
    `SELECT migration_name AS name, finished_at IS NOT NULL AS finished FROM red._prisma_migrations ORDER BY 1`,
  )

test('of parallel deployments one applies each migration, in order', async () => {
  write('0001_first', 'CREATE TABLE things (id int); INSERT INTO things VALUES (1);')
  write('0002_second', 'ALTER TABLE things ADD COLUMN name text; SELECT pg_sleep(0.1);')
  const applied = await Promise.all([migrate(), migrate(), migrate()])
  expect(applied.flat()).toEqual(['0001_first', '0002_second'])
  expect(await ask('SELECT * FROM red.things')).toEqual([{ id: 1, name: null }])
  expect(await migrate()).toEqual([])
})

test('a migration that fails leaves nothing of itself, says its line, and can be mended', async () => {
  write('0001_first', 'CREATE TABLE things (id int);')
  write('0002_second', 'CREATE TABLE more (id int);\n\nINSERT INTO nowhere VALUES (1);')
  const failure = await migrate().catch((error: Error) => error)
  expect(failure).toBeInstanceOf(MigrationError)
  expect((failure as Error).message).toMatch(
    /0002_second of red failed and was undone: .*nowhere.*\(line 3\)/,
  )
  expect(await history()).toEqual([{ name: '0001_first', finished: true }])
  write('0002_second', 'CREATE TABLE more (id int);')
  expect(await migrate()).toEqual(['0002_second'])
})

test('a deployment that is killed half-way leaves nothing half done', async () => {
  write('0001_first', 'CREATE TABLE things (id int); SELECT pg_sleep(60);')
  const deployment = migrate().catch((error: Error) => error)
  const asleep = `SELECT pid FROM pg_stat_activity WHERE application_name = 'migrate-red' AND wait_event = 'PgSleep'`
  await eventually(async () => (await ask(asleep)).length).toBe(1)
  await ask(`SELECT pg_terminate_backend(pid) FROM (${asleep}) AS sleeping`)
  expect(await deployment).toBeInstanceOf(MigrationError)
  write('0001_first', 'CREATE TABLE things (id int);')
  expect(await migrate()).toEqual(['0001_first'])
})

test('one that cannot be a transaction is refused afterwards when it failed half-way', async () => {
  write('0001_first', 'CREATE TABLE things (id int);')
  write(
    '0002_index',
    '-- Built without a lock.\nCREATE INDEX CONCURRENTLY things_id ON things (id);\nCREATE INDEX CONCURRENTLY oops ON nowhere (id);',
  )
  await expect(migrate()).rejects.toThrow(/0002_index of red failed and is half applied/)
  await expect(migrate()).rejects.toThrow(/half applied: put the schema right, then mark it/)
  expect(await history()).toContainEqual({ name: '0002_index', finished: false })
  await ask(`UPDATE red._prisma_migrations SET rolled_back_at = now() WHERE finished_at IS NULL`)
  await ask('DROP INDEX red.things_id')
  write('0002_index', 'CREATE INDEX CONCURRENTLY things_id ON things (id);')
  expect(await migrate()).toEqual(['0002_index'])
})

test('a migration that was edited after it was applied is refused', async () => {
  write('0001_first', 'CREATE TABLE things (id int);')
  await migrate()
  write('0001_first', 'CREATE TABLE things (id bigint);')
  await expect(migrate()).rejects.toThrow(/0001_first of red was edited after it was applied/)
})
