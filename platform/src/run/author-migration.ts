/**
 * `npm run -w @berth/prisma migrate:dev -- <domain> …`: Prisma's own `migrate dev` on a throw-away
 * database that holds every earlier migration of the domain.
 */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'
import { domains, migrateDomain, migrationsOf } from '@berth/prisma/migrate'
import pg from 'pg'
import { acquireTestServers } from '../servers/test-servers.ts'
import { prepareDatabase } from './database.ts'

const ROOT = path.join(import.meta.dirname, '../../..')
const [domain = '', ...rest] = process.argv.slice(2)

if (!domains.includes(domain)) {
  console.error(
    `Name the domain first, one of ${domains.join(', ')}: then what prisma migrate dev takes`,
  )
  process.exit(1)
}
const { postgresAdminUrl } = await acquireTestServers()
const database = `author_${domain}_${process.pid}`
const admin = new pg.Client(postgresAdminUrl)
await admin.connect()
let status: number | null = 1
try {
  // The tests' own password: roles belong to the server, and its test databases share them.
  const passwords = { [`${domain}_owner`]: 'test', [`${domain}_app`]: 'test' }
  const given = { adminUrl: postgresAdminUrl, database, domains: [domain], passwords }
  const { [domain]: urls } = await prepareDatabase(given)
  await migrateDomain({ url: urls?.owner ?? '', schema: domain, dir: migrationsOf(domain) })
  const prisma = createRequire(path.join(ROOT, 'prisma/package.json')).resolve(
    'prisma/package.json',
  )
  const cli = path.join(path.dirname(prisma), 'build/index.js')
  // As administrator: Prisma makes a shadow database of its own.
  const url = new URL(postgresAdminUrl)
  url.pathname = `/${database}`
  status = spawnSync(process.execPath, [cli, 'migrate', 'dev', ...rest], {
    cwd: path.join(ROOT, 'prisma'),
    stdio: 'inherit',
    env: { ...process.env, PRISMA_DOMAIN: domain, DATABASE_URL: url.href },
  }).status
} finally {
  await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`)
  await admin.end()
}
process.exit(status ?? 1)
