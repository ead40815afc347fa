import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { domains as allDomains, migrateDomain, migrationsOf } from '@berth/prisma/migrate'
import pg from 'pg'
import { startTimeOf } from '../servers/process.ts'
import { testServers, uniqueName } from './servers.ts'

export type TestDatabase = AsyncDisposable & {
  /** As `<domain>_app`, the role that the service runs as. */
  readonly appUrl: string
  /** As `<domain>_owner`, the role that runs the migrations. */
  readonly ownerUrl: string
  /** As superuser. */
  readonly adminUrl: string
  drop(): Promise<void>
}

export type TestDatabases = AsyncDisposable & {
  appUrl(domain: string): string
  ownerUrl(domain: string): string
  readonly adminUrl: string
  drop(): Promise<void>
}

/** A migrated, empty database of one domain. */
export async function testDatabase(domain: string): Promise<TestDatabase> {
  const database = await testDatabases([domain])
  return {
    ...database,
    appUrl: database.appUrl(domain),
    ownerUrl: database.ownerUrl(domain),
  }
}

/**
 * A migrated, empty database with a schema for each domain, cloned from a template that is made
 * once for as long as the migrations stay what they are. Safe from many processes at once.
 */
export async function testDatabases(
  domains: readonly string[] = allDomains,
): Promise<TestDatabases> {
  const { postgresAdminUrl } = await testServers()
  const name = `${TEST}${uniqueName()}`
  await withClient(postgresAdminUrl, async (admin) => {
    const template = await ensureTemplate(admin, postgresAdminUrl, domains)
    await admin.query(`CREATE DATABASE ${name} TEMPLATE ${template}`)
  })
  const urlOf = (user?: string) => urlTo(postgresAdminUrl, name, user)
  const drop = () =>
    withClient(postgresAdminUrl, async (admin) => {
      await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    })
  return {
    adminUrl: urlOf(),
    appUrl: (domain) => urlOf(`${domain}_app`),
    ownerUrl: (domain) => urlOf(`${domain}_owner`),
    drop,
    [Symbol.asyncDispose]: drop,
  }
}

/** Drops the databases of test processes that were killed. */
export async function dropAbandoned(): Promise<void> {
  const { postgresAdminUrl } = await testServers()
  await withClient(postgresAdminUrl, async (admin) => {
    const { rows } = await admin.query<{ name: string }>(
      `SELECT datname AS name FROM pg_database WHERE datname ~ '^${TEST}t[0-9]+x'`,
    )
    const abandoned = rows.filter(({ name }) => {
      const pid = Number(/^\D+(\d+)x/.exec(name)?.[1])
      return startTimeOf(pid) === undefined
    })
    for (const { name } of abandoned) {
      await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    }
  })
}

const TEST = 'berth_test_'
const PASSWORD = 'test'

/**
 * The name of the template, made if need be. Held by the caller's session until it ends: nobody
 * replaces a template between here and its cloning.
 */
async function ensureTemplate(
  admin: pg.Client,
  adminUrl: string,
  domains: readonly string[],
): Promise<string> {
  const family = `berth_template_${scopeOf(domains)}_`
  const name = family + fingerprint(domains)
  await admin.query(`SELECT pg_advisory_lock(hashtext($1))`, [family])
  const { rows } = await admin.query<{ name: string; is_done: boolean }>(
    `SELECT datname AS name, datistemplate AS is_done FROM pg_database WHERE starts_with(datname, $1)`,
    [family],
  )
  if (rows.some((row) => row.name === name && row.is_done)) return name
  // Of earlier migrations, or half made by a process that was killed.
  for (const { name: old, is_done } of rows) {
    if (is_done) await admin.query(`ALTER DATABASE ${old} IS_TEMPLATE false`)
    await admin.query(`DROP DATABASE ${old} WITH (FORCE)`)
  }
  await ensureRoles(admin, domains)
  await admin.query(`CREATE DATABASE ${name}`)
  await withClient(urlTo(adminUrl, name), async (db) => {
    await db.query(`REVOKE ALL ON DATABASE ${name} FROM PUBLIC`)
    for (const domain of domains) {
      await db.query(`GRANT CONNECT ON DATABASE ${name} TO ${domain}_owner, ${domain}_app`)
      await db.query(`CREATE SCHEMA ${domain} AUTHORIZATION ${domain}_owner`)
    }
  })
  for (const domain of domains) {
    const url = urlTo(adminUrl, name, `${domain}_owner`)
    await migrateDomain({ url, schema: domain, dir: migrationsOf(domain) })
  }
  await admin.query(`ALTER DATABASE ${name} IS_TEMPLATE true`)
  return name
}

/** Roles belong to the server and not to a database: all test databases share them. */
async function ensureRoles(admin: pg.Client, domains: readonly string[]): Promise<void> {
  await admin.query(`SELECT pg_advisory_lock(hashtext('berth_roles'))`)
  for (const role of domains.flatMap((domain) => [`${domain}_owner`, `${domain}_app`])) {
    const { rowCount } = await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [role])
    const verb = rowCount === 0 ? 'CREATE' : 'ALTER'
    await admin.query(`${verb} ROLE ${role} LOGIN PASSWORD '${PASSWORD}'`)
  }
  await admin.query(`SELECT pg_advisory_unlock(hashtext('berth_roles'))`)
}

/** One domain's name, or a short one for several. */
function scopeOf(domains: readonly string[]): string {
  if (domains.length === 1) return String(domains[0])
  return createHash('sha256')
    .update([...domains].sort().join())
    .digest('hex')
    .slice(0, 8)
}

function fingerprint(domains: readonly string[]): string {
  const hash = createHash('sha256')
  for (const domain of [...domains].sort()) {
    const dir = migrationsOf(domain)
    for (const name of readdirSync(dir).sort()) {
      const file = path.join(dir, name, 'migration.sql')
      const isMigration = statSync(file, { throwIfNoEntry: false })?.isFile()
      if (isMigration) hash.update(`${domain}/${name}\n`).update(readFileSync(file))
    }
  }
  return hash.digest('hex').slice(0, 12)
}

function urlTo(adminUrl: string, database: string, user?: string): string {
  const url = new URL(adminUrl)
  url.pathname = `/${database}`
  if (user !== undefined) {
    url.username = user
    url.password = PASSWORD
  }
  return url.href
}

async function withClient<T>(url: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await fn(client)
  } finally {
    await client.end()
  }
}
