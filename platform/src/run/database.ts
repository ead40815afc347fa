import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { readJson, writeJson } from '../servers/json-file.ts'
import { SetupError } from '../servers/setup-error.ts'

/** A domain's two ways into the database. */
export type DomainUrls = {
  /** `<domain>_owner`: owns the schema and runs the migrations. */
  readonly owner: string
  /** `<domain>_app`: what the service runs as, with the rights its migrations grant. */
  readonly app: string
}

/** Held while roles and schemas are made, so that parallel starts do not trip over each other. */
const SETUP_LOCK = 20_407

/**
 * The database with, for each domain, a schema, the role that owns it and the role of its service.
 * Nothing is granted to PUBLIC. Safe to repeat and to run in parallel.
 *
 * @param adminUrl a role that may create roles and databases; needs not be a superuser
 * @param passwords by role name; set again on every call
 */
export async function prepareDatabase({
  adminUrl,
  database,
  domains,
  passwords,
}: {
  adminUrl: string
  database: string
  domains: readonly string[]
  passwords: Readonly<Record<string, string>>
}): Promise<Record<string, DomainUrls>> {
  const roles = domains.flatMap((domain) => [`${domain}_owner`, `${domain}_app`])
  const urlOf = (role: string) => withLogin(adminUrl, database, role, passwords[role] ?? '')
  await connected(adminUrl, async (admin) => {
    await admin.query('SELECT pg_advisory_lock($1)', [SETUP_LOCK])
    for (const role of roles) await ensureRole(admin, role, passwords[role] ?? '')
    const name = pg.escapeIdentifier(database)
    const found = await admin.query('SELECT FROM pg_database WHERE datname = $1', [database])
    if (found.rowCount === 0) await admin.query(`CREATE DATABASE ${name}`)
    await admin.query(`REVOKE ALL ON DATABASE ${name} FROM PUBLIC`)
    await admin.query(`GRANT CONNECT ON DATABASE ${name} TO ${roles.join(', ')}`)
  })
  await connected(withDatabase(adminUrl, database), async (admin) => {
    await admin.query('SELECT pg_advisory_lock($1)', [SETUP_LOCK])
    // On a managed server the schema `public` may belong to another: then it is theirs to close.
    await admin.query('REVOKE ALL ON SCHEMA public FROM PUBLIC').catch(() => {})
    for (const domain of domains) {
      await admin.query(`CREATE SCHEMA IF NOT EXISTS ${domain} AUTHORIZATION ${domain}_owner`)
      // Functions are the one kind of object that Postgres lets everyone use unless told otherwise.
      await admin.query(
        `ALTER DEFAULT PRIVILEGES FOR ROLE ${domain}_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`,
      )
    }
  })
  const urls = domains.map((domain) => [
    domain,
    { owner: urlOf(`${domain}_owner`), app: urlOf(`${domain}_app`) },
  ])
  return Object.fromEntries(urls) as Record<string, DomainUrls>
}

/**
 * The URLs of each domain: `<DOMAIN>_DATABASE_URL` and `<DOMAIN>_OWNER_DATABASE_URL` where the
 * environment names them (a managed server that makes no roles for us), else roles of our own.
 *
 * @throws {SetupError} when only one of the two is named, the password file is not whole, or the
 *   server refuses
 */
export async function domainUrls({
  adminUrl,
  domains,
  passwordFile,
  env,
}: {
  adminUrl: string
  domains: readonly string[]
  passwordFile: string
  env: NodeJS.ProcessEnv
}): Promise<Record<string, DomainUrls>> {
  const named: Record<string, DomainUrls> = {}
  for (const domain of domains) {
    const prefix = domain.toUpperCase()
    const app = env[`${prefix}_DATABASE_URL`]
    const owner = env[`${prefix}_OWNER_DATABASE_URL`]
    if (!app !== !owner)
      throw new SetupError(
        `Set both ${prefix}_DATABASE_URL (the service's role) and ${prefix}_OWNER_DATABASE_URL (the schema's owner), or neither`,
      )
    if (app && owner) named[domain] = { app, owner }
  }
  const own = domains.filter((domain) => !named[domain])
  if (own.length === 0) return named
  const passwords = passwordsFor(own, passwordFile)
  const path = new URL(adminUrl).pathname.slice(1)
  const made = await prepareDatabase({
    adminUrl,
    database: path && path !== 'postgres' ? path : 'berth',
    domains: own,
    passwords,
  }).catch((error: Error) => {
    throw new SetupError(
      `The database could not be set up: ${error.message}. A role that may create roles and databases is needed in DATABASE_URL, or give each domain its own URLs`,
      { cause: error },
    )
  })
  return { ...made, ...named }
}

function passwordsFor(domains: readonly string[], file: string): Record<string, string> {
  // Every start sets the roles' passwords again: new ones do no harm.
  const known = readJson<Record<string, string>>(file, 'Remove it: new passwords are made')
  const roles = domains.flatMap((domain) => [`${domain}_owner`, `${domain}_app`])
  const made = roles.map((role) => [role, randomBytes(18).toString('hex')])
  const passwords = { ...Object.fromEntries(made), ...known }
  writeJson(file, passwords, 0o600)
  return passwords
}

async function ensureRole(admin: pg.Client, role: string, password: string): Promise<void> {
  const found = await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [role])
  if (found.rowCount === 0) await admin.query(`CREATE ROLE ${role} LOGIN NOINHERIT`)
  await admin.query(`ALTER ROLE ${role} PASSWORD ${pg.escapeLiteral(password)}`)
  // One that is not a superuser must be a member to give the role a schema.
  await admin.query(`DO $$ BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      GRANT ${role} TO CURRENT_USER;
    END IF;
  END $$`)
}

async function connected(url: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'berth-setup' })
  client.on('error', () => {}) // A connection that is lost fails the statement, which says so.
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

function withDatabase(url: string, database: string): string {
  const changed = new URL(url)
  changed.pathname = `/${database}`
  return changed.href
}

function withLogin(url: string, database: string, user: string, password: string): string {
  const changed = new URL(withDatabase(url, database))
  changed.username = user
  changed.password = password
  return changed.href
}
