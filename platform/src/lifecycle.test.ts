import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'

const dir = mkdtempSync(join(tmpdir(), 'lifecycle-'))
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})
afterAll(() => rmSync(dir, { recursive: true }))

const env = {
  BERTH_SERVICE: 'demo',
  BERTH_INSTANCE: 'demo-1',
  BERTH_ENV: 'test',
  PORT: '0',
  REDIS_URL: 'redis://127.0.0.1:1',
  NATS_URL: 'nats://127.0.0.1:1',
  BERTH_KEYS_DIR: '/nowhere',
  BERTH_DRAIN_SECONDS: '5',
}

/** A service with this body of `start`, as Node itself runs it. */
async function run(body: string, change: Record<string, string> = {}) {
  const file = join(dir, `main-${children.length}-${Date.now()}.ts`)
  const lifecycle = new URL('./lifecycle.ts', import.meta.url).href
  const config = new URL('./config.ts', import.meta.url).href
  writeFileSync(
    file,
    `import { runService } from ${JSON.stringify(lifecycle)}
     import { serviceConfig } from ${JSON.stringify(config)}
     await runService('demo', serviceConfig, async (scope, { config, log }) => { ${body} })`,
  )
  const child = spawn(process.execPath, [file], {
    env: { ...env, ...change },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      output += chunk
    })
  }
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  return {
    child,
    exited,
    output: () => output,
    says: (text: string) => expect.poll(() => output, { timeout: 15_000 }).toContain(text),
  }
}

const alive = 'setInterval(() => undefined, 1000);'

test('SIGTERM disposes the scope in reverse order, and then the process ends well', async () => {
  const service = await run(`${alive}
    scope.defer(async () => log.info('database closed'))
    scope.defer(async () => { await new Promise((go) => setTimeout(go, 50)); log.info('requests ended') })
    log.info('up')`)
  await service.says('up')
  service.child.kill('SIGTERM')
  expect(await service.exited).toEqual({ code: 0, signal: null })
  const order = service.output().match(/requests ended|database closed|stopped/g)
  expect(order).toEqual(['requests ended', 'database closed', 'stopped'])
})

test('a second signal ends it at once', async () => {
  const service = await run(`${alive}
    scope.defer(() => { log.info('hangs'); return new Promise(() => undefined) })
    log.info('up')`)
  await service.says('up')
  service.child.kill('SIGINT')
  await service.says('hangs')
  service.child.kill('SIGINT')
  expect(await service.exited).toEqual({ code: 1, signal: null })
})

test('a signal that comes during the start is not lost', async () => {
  const service = await run(`${alive}
    scope.defer(async () => log.info('closed'))
    log.info('starting')
    await new Promise((go) => process.once('SIGTERM', () => setTimeout(go, 50)))`)
  await service.says('starting')
  service.child.kill('SIGTERM')
  expect(await service.exited).toEqual({ code: 0, signal: null })
  expect(service.output()).toContain('closed')
})

test.each([
  ['an uncaught error', `setTimeout(() => { throw new Error('boom') }, 10)`],
  ['an unhandled rejection', `setTimeout(() => Promise.reject(new Error('boom')), 10)`],
])('%s is logged and ends the process with 1', async (_case, body) => {
  const service = await run(`${alive} ${body}`)
  expect(await service.exited).toEqual({ code: 1, signal: null })
  expect(service.output()).toMatch(/"level":"fatal".*boom/)
})

test('a failed start closes what was opened and ends with 1', async () => {
  const service = await run(`
    scope.defer(async () => log.info('closed'))
    throw new Error('no database')`)
  expect(await service.exited).toEqual({ code: 1, signal: null })
  expect(service.output()).toMatch(/no database/)
  expect(service.output()).toMatch(/closed/)
})

test('a bad configuration names every variable and starts nothing', async () => {
  const service = await run(`log.info('is up')`, { PORT: 'x', REDIS_URL: '' })
  expect(await service.exited).toEqual({ code: 1, signal: null })
  expect(service.output()).toMatch(/PORT.*REDIS_URL is not set/)
  expect(service.output()).not.toContain('is up')
})

test('a service does not run under another’s name', async () => {
  const service = await run(`log.info('up')`, { BERTH_SERVICE: 'other' })
  expect(await service.exited).toEqual({ code: 1, signal: null })
  expect(service.output()).toContain('BERTH_SERVICE is not demo')
})
