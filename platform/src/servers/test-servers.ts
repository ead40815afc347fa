import { spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { sharedDirectory } from './account.ts'
import { testHome } from './home.ts'
import { lock, tryLock } from './lock.ts'
import { startTimeOf } from './process.ts'
import { SetupError } from './setup-error.ts'

/** Where the servers for tests are. Plain JSON: it can be handed to another process. */
export type TestServers = {
  /** Superuser on the database `postgres`; data is not safe against a power cut. */
  readonly postgresAdminUrl: string
  /** 256 databases, nothing kept over a restart. */
  readonly redisUrl: string
  /** JetStream is on; Debian's 2.9. */
  readonly natsUrl: string
  readonly sshd: { readonly file: string; readonly env: NodeJS.ProcessEnv }
  /** For tests that start a server of their own, with `redisServer` or `natsServer`. */
  readonly binaries: {
    readonly redis: { readonly file: string; readonly env: NodeJS.ProcessEnv }
    readonly nats: { readonly file: string; readonly env: NodeJS.ProcessEnv }
  }
}

const CHECKOUT = path.join(import.meta.dirname, '../../..')
const START_SECONDS = 300

/**
 * Servers for the tests of this checkout: the running ones, or new ones on free ports. They are
 * kept by a process of their own, and stop some minutes after the last process that acquired them
 * has ended. Any number of processes may call it at once.
 *
 * @throws {SetupError} when a server cannot be had
 */
export async function acquireTestServers(home = testHome(CHECKOUT)): Promise<TestServers> {
  sharedDirectory(path.dirname(home))
  sharedDirectory(home)
  const places = testPlaces(home)
  using _held = await lock(places.acquire)
  mkdirSync(places.users, { recursive: true })
  // Before the look at what runs: from here on the keeper sees a user and stays.
  const user = path.join(places.users, String(process.pid))
  writeFileSync(user, startTimeOf(process.pid) ?? '')
  return running(places) ?? (await start(home, places))
}

/** Gives them back: they stop at once, unless another process that is alive acquired them too. */
export async function releaseTestServers(home = testHome(CHECKOUT)): Promise<void> {
  const places = testPlaces(home)
  mkdirSync(places.users, { recursive: true })
  using _held = await lock(places.acquire)
  rmSync(path.join(places.users, String(process.pid)), { force: true })
  const keeper = keeperOf(places)
  if (!keeper || isUsed(places)) return
  process.kill(keeper, 'SIGTERM')
  await untilFree(places.keeper)
}

/** Whether a process that acquired the servers is alive. */
export function isUsed(places: Places): boolean {
  const users = readdirSync(places.users).filter((pid) => {
    const file = path.join(places.users, pid)
    const alive = startTimeOf(Number(pid)) === readFileSync(file, 'utf8')
    if (!alive) rmSync(file, { force: true })
    return alive
  })
  return users.length > 0
}

export function testPlaces(home: string) {
  return {
    home,
    state: path.join(home, 'servers.json'),
    failure: path.join(home, 'failure.txt'),
    acquire: path.join(home, 'acquire.lock'),
    keeper: path.join(home, 'keeper.lock'),
    users: path.join(home, 'users'),
    run: path.join(home, 'run'),
    log: path.join(home, 'log'),
  }
}

type Places = ReturnType<typeof testPlaces>

function running(places: Places): TestServers | undefined {
  if (!keeperOf(places)) return undefined
  return (JSON.parse(readFileSync(places.state, 'utf8')) as { servers: TestServers }).servers
}

/** Pid of the process that keeps the servers, once they are ready. */
function keeperOf(places: Places): number | undefined {
  if (isFree(places.keeper)) return undefined
  try {
    return (JSON.parse(readFileSync(places.state, 'utf8')) as { pid: number }).pid
  } catch {
    return undefined
  }
}

async function start(home: string, places: Places): Promise<TestServers> {
  let _own: Promise<unknown> | undefined
  let over = false
  for (const deadline = Date.now() + START_SECONDS * 1000; Date.now() < deadline; ) {
    const servers = running(places)
    if (servers) return servers
    // A keeper whose starter was killed is waited for like one's own.
    if (isFree(places.keeper)) {
      if (over) break
      _own ??= startKeeper(home, places).then(() => {
        over = true
      })
    }
    await setTimeout(25)
  }
  throw new SetupError(read(places.failure) ?? `Test servers did not start: see ${places.log}`)
}

/** @returns a promise that settles when the keeper has ended */
function startKeeper(home: string, places: Places): Promise<unknown> {
  rmSync(places.state, { force: true })
  rmSync(places.failure, { force: true })
  mkdirSync(places.log, { recursive: true })
  const log = openSync(path.join(places.log, 'keeper.log'), 'a')
  const main = path.join(import.meta.dirname, 'test-servers-keeper.ts')
  const stdio = ['ignore', log, log] as const
  const child = spawn(process.execPath, [main, home], {
    cwd: '/',
    detached: true,
    stdio: [...stdio],
  })
  closeSync(log)
  child.unref()
  return new Promise((resolve) => child.once('exit', resolve))
}

async function untilFree(file: string): Promise<void> {
  const taken = await lock(file)
  taken.release()
}

function isFree(file: string): boolean {
  const taken = tryLock(file)
  taken?.release()
  return taken !== undefined
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
