import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { newUuid, timeOfUuid } from '@berth/platform/ids'
import { acquireTestServers } from '@berth/platform/servers/test-servers'
import { testDatabases } from '@berth/platform/test-kit/index'
import { domains, migrateDomain, migrationsOf } from '@berth/prisma/migrate'
import pg from 'pg'
import { afterAll, expect, test } from 'vitest'

const run = promisify(execFile)
const prisma = path.join(import.meta.dirname, '../../prisma')
const database = await testDatabases()
afterAll(() => database.drop())

test.each(domains)('the models and the migrations of %s say the same', async (domain) => {
  const { postgresAdminUrl } = await acquireTestServers()
  const url = new URL(postgresAdminUrl)
  url.pathname = new URL(database.adminUrl).pathname
  const { stdout } = await run(
    'prisma',
    [
      'migrate',
      'diff',
      '--from-config-datasource',
      '--to-schema',
      `${domain}/schema.prisma`,
      '--exit-code',
    ],
    { cwd: prisma, env: { ...process.env, PRISMA_DOMAIN: domain, DATABASE_URL: url.href } },
  ).catch((error: { stdout: string; stderr: string }) => {
    throw new Error(`${error.stdout}${error.stderr}`)
  })
  expect(stdout).toContain('No difference')
})

test('policies and audit rows that a database has had since before come through the migrations', async () => {
  await using own = await testDatabases(['policy'])
  const before = mkdtempSync(path.join(os.tmpdir(), 'berth-migrations-'))
  const dir = migrationsOf('policy')
  for (const name of readdirSync(dir).filter((it) => it < '0006')) {
    cpSync(path.join(dir, name), path.join(before, name), { recursive: true })
  }
  const db = new pg.Client({ connectionString: own.adminUrl, options: '-c search_path=policy' })
  await db.connect()
  try {
    await db.query('DROP SCHEMA policy CASCADE; CREATE SCHEMA policy AUTHORIZATION policy_owner')
    const url = own.ownerUrl('policy')
    await migrateDomain({ url, schema: 'policy', dir: before })
    const [organization, event] = [newUuid(), newUuid()]
    await db.query(`INSERT INTO organizations (id, name) VALUES ('${organization}', 'Acme')`)
    await db.query(
      `INSERT INTO policy_values (id, key, scope, organization_id, version, value, default_revision) VALUES
         (gen_random_uuid(), 'ratelimit.query', 'PLATFORM', NULL, 1, '{"perMinute": 9, "burst": 9}', 1),
         (gen_random_uuid(), 'ratelimit.query', 'ORGANIZATION', $1, 7, '{"perMinute": 5, "burst": 5}', NULL)`,
      [organization],
    )
    await db.query(
      `INSERT INTO audit_events (id, at, actor, action, target, facts)
       VALUES ($1, $2, '{}', 'policy.set', 'ratelimit.query', '{}')`,
      [event, timeOfUuid(event)],
    )
    await migrateDomain({ url, schema: 'policy', dir })
    const settings = await db.query(
      `SELECT v.level, v.organization_id, c.version::int, c.value = v.value AS holds
       FROM policy_values v JOIN policy_changes c ON c.setting_id = v.id ORDER BY c.version`,
    )
    expect(settings.rows).toEqual([
      { level: 'PLATFORM', organization_id: null, version: 1, holds: true },
      { level: 'GRANT', organization_id: organization, version: 7, holds: true },
    ])
    expect((await db.query('SELECT id FROM audit_relay')).rows).toEqual([{ id: event }])
  } finally {
    await db.end()
    rmSync(before, { recursive: true })
  }
})
