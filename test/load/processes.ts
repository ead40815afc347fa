import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import os from 'node:os'
import { createInterface } from 'node:readline'

/** A process under measurement. */
export type Running = {
  readonly name: string
  readonly pid: number
  /** Seconds of processor time so far, over all threads; NaN where the system does not tell. */
  cpuSeconds(): number
  /** Resident memory in MiB; NaN where the system does not tell. */
  residentMib(): number
  /** Throws with the end of its output if it is gone. */
  assertAlive(): void
  stop(): Promise<void>
}

export type Processes = AsyncDisposable & {
  /**
   * Starts `node …args` and waits until it prints a line that begins with `ready`, or until
   * `whenReady` resolves.
   *
   * @param core the processor it runs on, where `taskset` is there
   * @throws {Error} with the end of its output when it ends or is not ready in 60 s
   */
  start(of: {
    name: string
    args: readonly string[]
    core: number
    environment?: Readonly<Record<string, string>>
    whenReady?: (signal: AbortSignal) => Promise<void>
  }): Promise<Running>
}

const READY_MS = 60_000
const OUTPUT_LINES = 40

/** Children of this process. They end with it, whatever ends it: an error, Ctrl-C, a failed bar. */
export function createProcesses(): Processes {
  const children = new Set<ChildProcess>()
  process.once('exit', killAll)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + (os.constants.signals[signal] ?? 0)))
  }
  return {
    async start({ name, args, core, environment, whenReady }) {
      const [command, ...all] = pinned(core, [process.execPath, ...args])
      const child = spawn(command ?? process.execPath, all, {
        env: { ...process.env, NODE_ENV: 'production', ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      children.add(child)
      const output: string[] = []
      const ended = Promise.withResolvers<never>()
      const said = Promise.withResolvers<void>()
      ended.promise.catch(() => {}) // Whoever waits for readiness is told; later, assertAlive tells.
      child.once('error', ended.reject)
      child.once('exit', (code, signal) => {
        children.delete(child)
        ended.reject(new Error(`${name} ended (${signal ?? code}):\n${output.join('\n')}`))
      })
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          if (line.startsWith('ready')) said.resolve()
          if (output.push(line) > OUTPUT_LINES) output.shift()
        })
      }
      const limit = AbortSignal.timeout(READY_MS)
      const tooLate = Promise.withResolvers<never>()
      limit.addEventListener('abort', () =>
        tooLate.reject(new Error(`${name} was not ready in time:\n${output.join('\n')}`)),
      )
      await Promise.race([whenReady?.(limit) ?? said.promise, ended.promise, tooLate.promise])
      const pid = child.pid ?? 0
      return {
        name,
        pid,
        cpuSeconds: () => cpuSecondsOf(pid),
        residentMib: () => residentMibOf(pid),
        assertAlive() {
          if (child.exitCode === null && child.signalCode === null) return
          throw new Error(`${name} is gone:\n${output.join('\n')}`)
        },
        async stop() {
          if (!children.has(child)) return
          child.kill('SIGKILL')
          await ended.promise.catch(() => {})
        },
      }
    },
    async [Symbol.asyncDispose]() {
      const gone = [...children].map((child) => new Promise((done) => child.once('exit', done)))
      killAll()
      await Promise.all(gone)
      process.off('exit', killAll)
    },
  }

  function killAll(): void {
    for (const child of children) child.kill('SIGKILL')
  }
}

/** Whether processes can be kept to a processor each. */
export const canPin = os.availableParallelism() >= 2 && hasTaskset()

/** Keeps this process to one processor, where that can be done. */
export function pinSelf(core: number): void {
  if (canPin) execFileSync('taskset', ['-a', '-cp', String(core), String(process.pid)])
}

const given = new Set<number>()

/** A port that nobody has now, and that was not given before. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  await new Promise((closed) => server.close(closed))
  if (address === null || typeof address === 'string') throw new Error('no port')
  if (given.has(address.port)) return freePort()
  given.add(address.port)
  return address.port
}

/** Resolves when the address answers a GET with any status below 500. */
export async function answers(url: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const response = await fetch(url, { signal }).catch(() => null)
    await response?.body?.cancel()
    if (response && response.status < 500) return
    await new Promise((later) => setTimeout(later, 50))
  }
}

function pinned(core: number, command: string[]): string[] {
  return canPin ? ['taskset', '-c', String(core), ...command] : command
}

function hasTaskset(): boolean {
  try {
    execFileSync('taskset', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Of Linux's scheduler, in nanoseconds and by thread: /proc/PID/stat counts whole 10 ms only. */
function cpuSecondsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((thread) =>
        Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
      )
      .reduce((sum, nanoseconds) => sum + nanoseconds / 1e9, 0)
  } catch {
    return Number.NaN
  }
}

function residentMibOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}
