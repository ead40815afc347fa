import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startTimeOf } from './process.ts'
import { testDirectory } from './test-directory.ts'
import { acquireTestServers, releaseTestServers, testPlaces } from './test-servers.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

let directory: ReturnType<typeof testDirectory>
let home: string

beforeEach(() => {
  directory = testDirectory()
  home = path.join(directory.path, 'home')
})

afterEach(async () => {
  await releaseTestServers(home)
  directory[Symbol.dispose]()
})

/** Acquires in a process of its own; prints the Postgres URL. */
function acquirer(env = {}) {
  return spawn(process.execPath, ['--input-type=module', '--eval', acquirerSource()], {
    env: { ...process.env, ...env },
  })
}

function acquirerSource(): string {
  const module = path.join(import.meta.dirname, 'test-servers.ts')
  return `const m = await import(${JSON.stringify(module)})
    console.log((await m.acquireTestServers(${JSON.stringify(home)})).postgresAdminUrl)`
}

function serverPids(): number[] {
  const { run } = testPlaces(home)
  return readdirSync(run).map(
    (file) => (JSON.parse(readFileSync(path.join(run, file), 'utf8')) as { pid: number }).pid,
  )
}

const keeper = () =>
  (JSON.parse(readFileSync(testPlaces(home).state, 'utf8')) as { pid: number }).pid

test('processes that ask at once are given the same servers', async () => {
  const processes = Array.from({ length: 4 }, () => acquirer())
  const urls = await Promise.all(
    processes.map(async ({ stdout }) => String(await once(stdout, 'data'))),
  )
  expect(new Set(urls).size).toBe(1)
})

test('one who asks is killed: the next is served', async () => {
  const first = acquirer()
  // Its keeper is on its way and has published nothing yet.
  await eventually(() => existsSync(path.join(testPlaces(home).log, 'keeper.log'))).toBe(true)
  first.kill('SIGKILL')
  await acquireTestServers(home)
})

test('their keeper is killed: the next who asks gets new ones', async () => {
  const servers = await acquireTestServers(home)
  expect(await acquireTestServers(home)).toEqual(servers)
  const killed = keeper()
  process.kill(killed, 'SIGKILL')
  await eventually(() => startTimeOf(killed)).toBeUndefined()
  await acquireTestServers(home)
  expect(keeper()).not.toBe(killed)
})

test('they stop when nobody who is alive has acquired them', async () => {
  const user = acquirer({ BERTH_TEST_IDLE_SECONDS: '0.5' })
  await once(user.stdout, 'data')
  const pids = [keeper(), ...serverPids()]
  expect(pids).toHaveLength(4)
  await eventually(() => pids.filter(startTimeOf)).toEqual([])
})

test('giving them back leaves them to another who uses them', async () => {
  await acquireTestServers(home)
  const source = `setInterval(() => {}, 1000); ${acquirerSource()}`
  const other = spawn(process.execPath, ['--input-type=module', '--eval', source])
  await once(other.stdout, 'data')
  await releaseTestServers(home)
  const [server] = serverPids()
  expect(startTimeOf(server!)).toBeDefined()
  other.kill('SIGKILL')
  await once(other, 'exit')
  await releaseTestServers(home)
  expect(startTimeOf(server!)).toBeUndefined()
})
