import { spawnSync } from 'node:child_process'
import pg from 'pg'
import { expect, test } from 'vitest'
import { dropAbandoned, testDatabase, testDatabases } from './database.ts'
import { testServers } from './servers.ts'

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(text)
    return rows
  } finally {
    await client.end()
  }
}

test('databases are migrated, and strangers to each other', async () => {
  await using one = await testDatabase('billing')
  await using two = await testDatabase('billing')
  await query(one.ownerUrl, 'CREATE TABLE billing.mine ()')
  const tables = `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'billing'`
  const names = (await query(two.appUrl, tables)).map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(['outbox', 'audit_events', '_prisma_migrations']))
  expect(names).not.toContain('mine')
})

test('domains of one database are closed to each other’s roles', async () => {
  await using all = await testDatabases(['billing', 'inventory'])
  const read = 'SELECT count(*) FROM billing.outbox'
  expect(await query(all.appUrl('billing'), read)).toEqual([{ count: '0' }])
  await expect(query(all.appUrl('inventory'), read)).rejects.toThrow('permission denied')
  await expect(query(all.ownerUrl('inventory'), read)).rejects.toThrow('permission denied')
})

test('many at once, from several processes, are cloned from one template', async () => {
  const script = `
    import { testDatabase } from ${JSON.stringify(new URL('./database.ts', import.meta.url).href)}
    const databases = await Promise.all([1, 2, 3].map(() => testDatabase('inventory')))
    for (const it of databases) await it.drop()`
  const other = spawnSync(process.execPath, ['--input-type=module', '--eval', script])
  const mine = await Promise.all([1, 2, 3].map(() => testDatabase('inventory')))
  for (const it of mine) await it.drop()
  expect(String(other.stderr)).toBe('')
  const { postgresAdminUrl } = await testServers()
  const templates = `SELECT datname FROM pg_database WHERE datname ~ '^berth_template_inventory_'`
  expect(await query(postgresAdminUrl, templates)).toHaveLength(1)
})

test('what a killed process left is dropped, and what a living one uses is not', async () => {
  const script = `
    import { testDatabase } from ${JSON.stringify(new URL('./database.ts', import.meta.url).href)}
    console.log((await testDatabase('inventory')).adminUrl)
    process.kill(process.pid, 'SIGKILL')`
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', script])
  const left = new URL(String(child.stdout).trim()).pathname.slice(1)
  await using mine = await testDatabase('inventory')
  await dropAbandoned()
  const { postgresAdminUrl } = await testServers()
  const rows = await query(postgresAdminUrl, 'SELECT datname AS name FROM pg_database')
  const names = rows.map(({ name }) => name)
  expect(names).not.toContain(left)
  expect(names).toContain(new URL(mine.adminUrl).pathname.slice(1))
})
