import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { freeBasePort } from './ports.ts'
import { expectAnswer } from './probe.ts'
import { type Program, startProgram, startTimeOf, stopOrphans } from './process.ts'
import { supervise } from './supervise.ts'
import { testDirectory } from './test-directory.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

/** A Node program that says something to whoever connects to its port. */
function talker(port: number, extra = ''): Program {
  const source = `require('net').createServer((s) => s.end('hello')).listen(${port}, '127.0.0.1'); ${extra}`
  return {
    name: 'talker',
    file: process.execPath,
    args: ['--eval', source],
    env: { PATH: process.env.PATH },
    stopSignal: 'SIGTERM',
    stopSeconds: 5,
    readySeconds: 10,
    ready: () => expectAnswer(port, '', /hello/),
  }
}

const placesIn = (directory: string) => ({
  run: path.join(directory, 'run'),
  log: path.join(directory, 'log'),
})

test('a program that ends before it is ready is reported with its own last words', async () => {
  using directory = testDirectory()
  const program = {
    ...talker(1),
    args: ['--eval', 'console.error("FATAL: the disk is full"); process.exit(3)'],
  }
  await expect(startProgram(program, placesIn(directory.path))).rejects.toThrow(
    /talker ended \(exit code 3\): FATAL: the disk is full \(log: .*talker\.log\)/,
  )
  await eventually(() => readdirSync(path.join(directory.path, 'run'))).toEqual([])
})

test('a program that is never ready is reported and does not run on', async () => {
  using directory = testDirectory()
  const port = await freeBasePort([0])
  const program = {
    ...talker(port),
    readySeconds: 0.3,
    ready: () => Promise.reject(new Error('mute')),
  }
  await expect(startProgram(program, placesIn(directory.path))).rejects.toThrow('mute')
  await expect(expectAnswer(port, '', /hello/)).rejects.toThrow()
})

test('one that ignores the request to stop is killed with everything it started', async () => {
  using directory = testDirectory()
  const port = await freeBasePort([0])
  const deaf = `process.on('SIGTERM', () => {});
    console.log('child', require('child_process').spawn('sleep', ['300'], { stdio: 'ignore' }).pid)`
  const program = { ...talker(port, deaf), stopSeconds: 0.2 }
  const running = await startProgram(program, placesIn(directory.path))
  const log = readFileSync(path.join(directory.path, 'log/talker.log'), 'utf8')
  const child = Number(/child (\d+)/.exec(log)?.[1])
  expect(startTimeOf(child)).toBeDefined()
  await running.stop()
  expect(startTimeOf(running.pid)).toBeUndefined()
  await eventually(() => startTimeOf(child)).toBeUndefined()
})

test('what ends is started again; what is taken down stays down until it is wanted', async () => {
  using directory = testDirectory()
  const port = await freeBasePort([0])
  const events: string[] = []
  const unit = supervise(talker(port), placesIn(directory.path), ({ what }) => events.push(what))
  await unit.start()
  const first = unit.pid()
  unit.kill('SIGKILL')
  await eventually(() => events).toEqual(['ended', 'restarted'])
  expect(unit.pid()).not.toBe(first)
  await unit.down('SIGKILL')
  expect(unit.pid()).toBeUndefined()
  await expect(expectAnswer(port, '', /hello/)).rejects.toThrow()
  await unit.start()
  await expectAnswer(port, '', /hello/)
  await unit.stop()
  expect(events).toEqual(['ended', 'restarted'])
})

test('a start that is given up leaves nothing running', async () => {
  using directory = testDirectory()
  const port = await freeBasePort([0])
  const never = { ...talker(port), ready: () => Promise.reject(new Error('not yet')) }
  const unit = supervise(never, placesIn(directory.path))
  const start = unit.start()
  const failed = expect(start).rejects.toThrow()
  await expect
    .poll(() =>
      expectAnswer(port, '', /hello/).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true)
  await unit.stop()
  await failed
  await expect(expectAnswer(port, '', /hello/)).rejects.toThrow()
})

test('what is stopped just as it becomes ready has not started, and does not run on', async () => {
  using directory = testDirectory()
  const port = await freeBasePort([0])
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<void>()
  const ready = () => {
    asked.resolve()
    return answer.promise
  }
  const unit = supervise({ ...talker(port), ready }, placesIn(directory.path))
  const failed = expect(unit.start()).rejects.toThrow()
  await asked.promise
  const stopped = unit.stop()
  answer.resolve()
  await Promise.all([failed, stopped])
  expect(unit.pid()).toBeUndefined()
  await expect(expectAnswer(port, '', /hello/)).rejects.toThrow()
})

test('orphans are stopped; a pid that is another process by now is left alone', async () => {
  using directory = testDirectory()
  const { run } = placesIn(directory.path)
  mkdirSync(run)
  const orphan = spawn('sleep', ['300'], { detached: true })
  const stranger = spawn('sleep', ['300'])
  const record = (name: string, pid: number, started: string | undefined) =>
    writeFileSync(
      path.join(run, `${name}.pid`),
      JSON.stringify({ pid, started, stopSignal: 'SIGTERM', stopSeconds: 2 }),
    )
  record('orphan', orphan.pid!, startTimeOf(orphan.pid!))
  record('stranger', stranger.pid!, 'another time')
  writeFileSync(path.join(run, 'half-written.pid'), '{"pid":')
  const ended = once(orphan, 'exit')
  expect(await stopOrphans(run)).toEqual(['orphan'])
  await ended
  expect(startTimeOf(stranger.pid!)).toBeDefined()
  expect(existsSync(path.join(run, 'half-written.pid'))).toBe(false)
  stranger.kill()
})
