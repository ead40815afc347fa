import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { freeBasePort } from '../servers/ports.ts'
import { startTimeOf } from '../servers/process.ts'
import { testDirectory } from '../servers/test-directory.ts'
import type { Service } from './manifests.ts'
import { type Platform, type PlatformOptions, startPlatform } from './platform.ts'
import { stopState } from './state.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

/** Answers with its environment; drains when asked to stop. */
const SERVICE = `import { createServer } from 'node:http'
import { appendFileSync } from 'node:fs'
const note = (what) => appendFileSync(process.env.NOTES, process.env.BERTH_INSTANCE + ' ' + what + '\\n')
note('starts')
const server = createServer((_, response) => response.end(JSON.stringify(process.env)))
server.listen(Number(process.env.PORT), process.env.HOST)
process.on('SIGTERM', () => { note('drains'); server.close(); server.closeAllConnections() })
`

let directory: ReturnType<typeof testDirectory>
let stateDir: string
let services: Service[]
let platform: Platform | undefined

beforeEach(() => {
  directory = testDirectory()
  stateDir = path.join(directory.path, 'state')
  mkdirSync(path.join(directory.path, 'src'))
  writeFileSync(path.join(directory.path, 'src/main.mjs'), SERVICE)
  writeFileSync(path.join(directory.path, 'src/broken.mjs'), `throw new Error('no such luck')`)
  const common = { directory: directory.path, main: 'src/main.mjs', ready: 'http' as const }
  services = [
    { ...common, name: 'gateway', port: 0, after: ['billing'], development: false },
    { ...common, name: 'billing', port: 22, domain: 'billing', after: [], development: false },
  ]
})

afterEach(async () => {
  await platform?.stop()
  platform = undefined
  directory[Symbol.dispose]()
})

const options = (): PlatformOptions => ({
  stateDir,
  basePort: 0,
  development: true,
  durable: false,
  services,
  env: { NOTES: path.join(directory.path, 'notes') },
})

async function start(more: Partial<PlatformOptions> = {}): Promise<Platform> {
  platform = await startPlatform({ ...options(), ...more })
  return platform
}

async function environmentAt(url: string | undefined): Promise<NodeJS.ProcessEnv> {
  return (await (await fetch(`${url}/`)).json()) as NodeJS.ProcessEnv
}

test('services run with least knowledge, replicas on ports of their own', async () => {
  process.env.BILLING_SECRET_DATABASE_URL = 'postgresql://not-for-services'
  const { urls, basePort, env } = await start({ replicas: { billing: 2 } })
  delete process.env.BILLING_SECRET_DATABASE_URL
  const gateway = await environmentAt(urls.gateway)
  const second = await environmentAt(urls['billing-2'])
  expect(gateway.DATABASE_URL).toBeUndefined()
  expect(gateway.BILLING_SECRET_DATABASE_URL).toBeUndefined()
  expect(second).toMatchObject({
    BERTH_SERVICE: 'billing',
    BERTH_INSTANCE: 'billing-2',
    BERTH_ENV: 'development',
    PORT: String(basePort + 50),
    DATABASE_URL: expect.stringMatching(/^postgresql:\/\/billing_app:\w+@127\.0\.0\.1:\d+\/berth$/),
  })
  expect(JSON.parse(gateway.BERTH_PEERS ?? '')).toEqual({
    gateway: [urls.gateway],
    billing: [urls.billing, urls['billing-2']],
  })
  expect(env('billing').BERTH_INSTANCE).toBe('billing-1')
})

test('what is killed runs again, servers too; what is down stays down', async () => {
  const running = await start()
  for (const name of ['billing', 'postgres', 'redis', 'nats']) {
    const before = running.pids()[name]
    running.kill(name, 'SIGKILL')
    await eventually(() => running.pids()[name] ?? before).not.toBe(before)
    await running.up(name)
  }
  await running.down('billing')
  await expect(environmentAt(running.urls.billing)).rejects.toThrow()
  expect(running.pids().billing).toBeUndefined()
  await running.up('billing')
  await environmentAt(running.urls.billing)
  expect(() => running.kill('nobody', 'SIGTERM')).toThrow(/nobody is neither/)
})

test('two platforms never share a state', async () => {
  await start()
  await expect(startPlatform(options())).rejects.toThrow(
    /already runs on .*: stop it with npm stop/,
  )
})

test('a taken port is told before anything has started', async () => {
  const basePort = await freeBasePort([0, 22, 40, 41, 42])
  const taken = createServer().listen(basePort + 42, '127.0.0.1')
  await once(taken, 'listening')
  const steps: string[] = []
  await expect(start({ basePort, onProgress: (step) => steps.push(step) })).rejects.toThrow(
    `Port ${basePort + 42} on 127.0.0.1 is taken by`,
  )
  expect(steps).toEqual([])
  taken.close()
})

test('a service that cannot start is told with its own words, and nothing runs on', async () => {
  const basePort = await freeBasePort([0, 22, 40, 41, 42])
  services[0] = { ...services[0]!, main: 'src/broken.mjs' }
  await expect(start({ basePort })).rejects.toThrow(/gateway ended .*no such luck/)
  services[0] = { ...services[0]!, main: 'src/main.mjs' }
  await start({ basePort })
})

test('a start that is given up leaves nothing running', async () => {
  const basePort = await freeBasePort([0, 22, 40, 41, 42])
  const given = new AbortController()
  const onProgress = (step: string) => void (step.startsWith('Postgres') && given.abort())
  await expect(start({ basePort, onProgress, signal: given.signal })).rejects.toThrow()
  await start({ basePort })
})

test('what a killed supervisor left is found and stopped by the next start', async () => {
  const basePort = await freeBasePort([0, 22, 40, 41, 42])
  const script = `const { startPlatform } = await import(${JSON.stringify(path.join(import.meta.dirname, 'platform.ts'))})
    const platform = await startPlatform(${JSON.stringify({ ...options(), basePort })})
    console.log(JSON.stringify(platform.pids()))`
  const supervisor = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const pids = JSON.parse(String(await once(supervisor.stdout, 'data'))) as Record<string, number>
  supervisor.kill('SIGKILL')
  await once(supervisor, 'exit')
  expect(Object.keys(pids).sort()).toEqual(['billing', 'gateway', 'nats', 'postgres', 'redis'])
  expect(Object.values(pids).filter((pid) => !startTimeOf(pid))).toEqual([])

  const steps: string[] = []
  await start({ basePort, onProgress: (step) => steps.push(step) })
  expect(steps[0]).toMatch(/^Stopped what an earlier run left: .*postgres/)
  expect(Object.values(pids).filter((pid) => startTimeOf(pid))).toEqual([])
})

test('npm stop ends what a killed supervisor left', async () => {
  const script = `const { startPlatform } = await import(${JSON.stringify(path.join(import.meta.dirname, 'platform.ts'))})
    const platform = await startPlatform(${JSON.stringify(options())})
    console.log(JSON.stringify(platform.pids()))`
  const supervisor = spawn(process.execPath, ['--input-type=module', '--eval', script])
  const pids = JSON.parse(String(await once(supervisor.stdout, 'data'))) as Record<string, number>
  supervisor.kill('SIGKILL')
  await once(supervisor, 'exit')
  expect((await stopState(stateDir)).sort()).toEqual(Object.keys(pids).sort())
  expect(Object.values(pids).filter((pid) => startTimeOf(pid))).toEqual([])
  expect(await stopState(stateDir)).toEqual([])
})
