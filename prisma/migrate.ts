import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'

export { domains, migrationsOf } from './domains.ts'

/** A migration that cannot be applied, or a history that does not fit the folder. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError'
}

/** The advisory lock that Prisma Migrate itself takes, so that the two never run at once. */
const PRISMA_LOCK = 72707369

/**
 * Applies what is new in a domain's migrations, with Prisma's own table, checksums and lock, so
 * that Prisma's command line sees the same history. Several may run at once: one does the work.
 *
 * A migration and its record are one transaction, unless it says something that Postgres refuses
 * in one (`CONCURRENTLY`, `VACUUM`).
 *
 * @param url as the role that owns the schema
 * @returns names of the migrations applied now
 * @throws {MigrationError} when one fails (nothing of it stays, if it was a transaction), when an
 *   earlier one is half applied, or when an applied one was edited since
 */
export async function migrateDomain({
  url,
  schema,
  dir,
}: {
  url: string
  schema: string
  dir: string
}): Promise<string[]> {
  const db = new pg.Client({
    connectionString: url,
    options: `-c search_path=${schema} -c TimeZone=UTC`,
    application_name: `migrate-${schema}`,
  })
  db.on('error', () => {}) // A connection that is lost fails the statement, which says so.
  await db.connect()
  try {
    await db.query('SELECT pg_advisory_lock($1)', [PRISMA_LOCK])
    await ensureHistory(db, schema)
    const applied = await appliedMigrations(db, schema)
    const fresh = read(dir).filter((migration) => !isApplied(migration, applied, schema))
    for (const migration of fresh) await apply(db, schema, migration)
    return fresh.map(({ name }) => name)
  } finally {
    await db.end() // Frees the lock.
  }
}

type Migration = { readonly name: string; readonly sql: string; readonly checksum: string }

function read(dir: string): Migration[] {
  return readdirSync(dir)
    .sort()
    .map((name) => ({ name, file: path.join(dir, name, 'migration.sql') }))
    .filter(({ file }) => existsSync(file))
    .map(({ name, file }) => {
      const sql = readFileSync(file, 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    })
}

async function ensureHistory(db: pg.Client, schema: string): Promise<void> {
  // Looked for first: a role may own a schema and yet not be allowed to create one.
  const { rowCount } = await db.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])
  if (rowCount === 0) await db.query(`CREATE SCHEMA ${pg.escapeIdentifier(schema)}`)
  await db.query(`CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id varchar(36) PRIMARY KEY NOT NULL,
    checksum varchar(64) NOT NULL,
    finished_at timestamptz,
    migration_name varchar(255) NOT NULL,
    logs text,
    rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0
  )`)
}

/** Checksums by name. */
async function appliedMigrations(db: pg.Client, schema: string): Promise<Map<string, string>> {
  const { rows } = await db.query<{ name: string; checksum: string; finished: boolean }>(
    `SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS finished
     FROM _prisma_migrations WHERE rolled_back_at IS NULL`,
  )
  const half = rows.find(({ finished }) => !finished)
  if (half)
    throw new MigrationError(
      `Migration ${half.name} of ${schema} is half applied: put the schema right, then mark it with \`prisma migrate resolve --applied ${half.name}\` or \`--rolled-back ${half.name}\` (PRISMA_DOMAIN=${schema})`,
    )
  return new Map(rows.map(({ name, checksum }) => [name, checksum]))
}

function isApplied(migration: Migration, applied: Map<string, string>, schema: string): boolean {
  const checksum = applied.get(migration.name)
  if (checksum !== undefined && checksum !== migration.checksum)
    throw new MigrationError(
      `Migration ${migration.name} of ${schema} was edited after it was applied: restore its text and write a new migration, or start from an empty database`,
    )
  return checksum !== undefined
}

async function apply(db: pg.Client, schema: string, { name, sql, checksum }: Migration) {
  const id = randomUUID()
  const begin = () =>
    db.query('INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES ($1, $2, $3)', [
      id,
      checksum,
      name,
    ])
  const finish = () =>
    db.query(
      'UPDATE _prisma_migrations SET finished_at = now(), applied_steps_count = 1 WHERE id = $1',
      [id],
    )
  const failed = (error: unknown, state: string) =>
    new MigrationError(
      `Migration ${name} of ${schema} failed and ${state}: ${(error as Error).message}${lineOf(error, sql)}`,
      { cause: error },
    )

  if (!refusesTransaction(sql)) {
    try {
      await db.query('BEGIN')
      await begin()
      await db.query(sql)
      await finish()
      await db.query('COMMIT')
    } catch (error) {
      await db.query('ROLLBACK').catch(() => {}) // The connection itself may be what failed.
      throw failed(error, 'was undone')
    }
    return
  }
  await begin()
  try {
    for (const statement of statements(sql)) await db.query(statement)
  } catch (error) {
    const { message } = error as Error
    await db
      .query('UPDATE _prisma_migrations SET logs = $2 WHERE id = $1', [id, message])
      .catch(() => {})
    throw failed(error, 'is half applied')
  }
  await finish()
}

/** Statements of such a migration go one by one: several in one query are a transaction. */
function statements(sql: string): string[] {
  return withoutComments(sql)
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter(Boolean)
}

function refusesTransaction(sql: string): boolean {
  return /\bCONCURRENTLY\b|^\s*VACUUM\b/im.test(withoutComments(sql))
}

function withoutComments(sql: string): string {
  return sql.replace(/^\s*--.*$/gm, '')
}

function lineOf(error: unknown, sql: string): string {
  const position = Number((error as { position?: string }).position)
  return position ? ` (line ${sql.slice(0, position).split('\n').length})` : ''
}
