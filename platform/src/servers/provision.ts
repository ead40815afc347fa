import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { type Account, assertReachable, mayRun, sharedDirectory } from './account.ts'
import { unpackDebianPackages } from './debian-packages.ts'
import { lock } from './lock.ts'
import { SetupError } from './setup-error.ts'

const run = promisify(execFile)

/** A server program, and the environment it needs to find its libraries. */
export type Binary = { readonly file: string; readonly env: NodeJS.ProcessEnv }
export type ServerName = keyof typeof SERVERS

/** What each server is called, and the environment variable that names a running one. */
const SERVERS = {
  'redis-server': { deb: 'redis-server', brew: 'redis', version: '--version', url: 'REDIS_URL' },
  'nats-server': { deb: 'nats-server', brew: 'nats-server', version: '--version', url: 'NATS_URL' },
  sshd: { deb: 'openssh-server', brew: undefined, version: '-V', url: undefined },
} as const

const PACKAGES = Object.values(SERVERS).map(({ deb }) => deb)

/** GETDEL, on which one-time tokens rest, came with Redis 6.2. */
const REDIS_OLDEST = [6, 2] as const

const SYSTEM_PATHS = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/opt/homebrew/sbin',
  '/opt/homebrew/bin',
]

export type FindOptions = {
  /** Where obtained programs are kept; see `berthHome`. */
  readonly servers: string
  readonly account: Account | undefined
  readonly onProgress?: (step: string) => void
}

/**
 * Finds server programs: on PATH, in the cache, or by obtaining them without root from the
 * distribution's own packages (Debian, Ubuntu) or Homebrew.
 *
 * @throws {SetupError} saying what to install or which variable to set
 */
export async function findServers<N extends ServerName>(
  names: readonly N[],
  options: FindOptions,
): Promise<Record<N, Binary>> {
  const { servers, account } = options
  const look = (name: ServerName) => onPath(name, account) ?? inCache(name, servers)
  if (names.some((name) => !look(name))) await obtain(names, options, look)
  const found = names.map((name) => [name, look(name) ?? fail(name)] as const)
  const binaries = Object.fromEntries(found) as Record<N, Binary>
  for (const { file } of Object.values<Binary>(binaries)) assertReachable(file, account)
  const redis = (binaries as Record<string, Binary>)['redis-server']
  if (redis) await assertRecentRedis(redis)
  return binaries
}

function onPath(name: ServerName, account: Account | undefined): Binary | undefined {
  const named = (process.env.PATH ?? '').split(path.delimiter).filter(path.isAbsolute)
  const file = [...named, ...SYSTEM_PATHS]
    .map((directory) => path.join(directory, name))
    .find((candidate) => isExecutable(candidate) && mayRun(candidate, account))
  return file ? { file, env: { PATH: process.env.PATH } } : undefined
}

function inCache(name: ServerName, servers: string): Binary | undefined {
  return inTree(name, cacheOf(servers))
}

function inTree(name: ServerName, tree: string): Binary | undefined {
  const file = ['usr/bin', 'usr/sbin', 'bin', 'sbin']
    .map((directory) => path.join(tree, directory, name))
    .find(isExecutable)
  if (!file) return undefined
  // usr/lib/<architecture>-linux-gnu and its like; the host's own loader and libc stay in charge.
  const libraries = ['usr/lib', 'lib']
    .map((directory) => path.join(tree, directory))
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((entry) => path.join(directory, entry)))
    .filter((directory) => path.basename(directory).includes('-linux-'))
  return {
    file,
    env: { PATH: process.env.PATH, LD_LIBRARY_PATH: libraries.join(path.delimiter) },
  }
}

/** One cache per release of the system: its libraries are the ones the packages were made for. */
function cacheOf(servers: string): string {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  const value = (key: string) => new RegExp(`^${key}="?([\\w.]+)`, 'm').exec(release)?.[1] ?? 'any'
  return path.join(servers, `${value('ID')}-${value('VERSION_ID')}-${process.arch}`)
}

async function obtain(
  names: readonly ServerName[],
  { servers, onProgress = () => {} }: FindOptions,
  look: (name: ServerName) => Binary | undefined,
): Promise<void> {
  const missing = () => names.filter((name) => !look(name))
  sharedDirectory(servers)
  using _held = await lock(path.join(servers, 'provision.lock'), () =>
    onProgress('Waiting for another start that is obtaining servers'),
  )
  const [first] = missing()
  if (!first) return
  onProgress(`Obtaining ${missing().join(', ')} (once per machine)`)
  if (process.platform === 'darwin') await brew(missing())
  else if (isExecutable('/usr/bin/apt-get') && isExecutable('/usr/bin/dpkg-deb'))
    await unpackDebianPackages({ cache: cacheOf(servers), packages: PACKAGES, check: assertRuns })
  else fail(first)
}

async function brew(names: readonly ServerName[]): Promise<void> {
  for (const name of names) {
    const formula = SERVERS[name].brew
    if (!formula) fail(name)
    const env = { ...process.env, HOMEBREW_NO_AUTO_UPDATE: '1' }
    await run('brew', ['install', formula], { env }).catch((error) => fail(name, error))
  }
}

async function assertRuns(tree: string): Promise<void> {
  for (const [name, { version }] of Object.entries(SERVERS)) {
    const binary = inTree(name as ServerName, tree)
    // An sshd that is too old for -V explains itself and exits with 1, which also shows that it runs.
    if (binary && name !== 'sshd') await run(binary.file, [version], { env: binary.env })
  }
}

async function assertRecentRedis({ file, env }: Binary): Promise<void> {
  const { stdout } = await run(file, ['--version'], { env })
  const [major = 0, minor = 0] = (/v=(\d+)\.(\d+)/.exec(stdout) ?? []).slice(1).map(Number)
  const [oldestMajor, oldestMinor] = REDIS_OLDEST
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor))
    throw new SetupError(
      `${file} is Redis ${major}.${minor} and ${REDIS_OLDEST.join('.')} is needed: install a newer one, or name a running server in REDIS_URL`,
    )
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function fail(name: ServerName, cause?: unknown): never {
  const { url, brew } = SERVERS[name]
  const how = process.platform === 'darwin' && brew ? `brew install ${brew}` : `install ${name}`
  const or = url ? `, or name a running server in ${url}` : ''
  throw new SetupError(`There is no ${name} on this machine: ${how}${or}`, { cause })
}
