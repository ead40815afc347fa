import { execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Account } from './account.ts'
import { SetupError } from './setup-error.ts'

/** A program to run: what to start, when it is ready, how it is asked to stop. */
export type Program = {
  readonly name: string
  readonly file: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly account?: Account | undefined
  readonly stopSignal: NodeJS.Signals
  /** After this it is killed. */
  readonly stopSeconds: number
  readonly readySeconds: number
  /** Runs before each start: puts right what a kill left behind. */
  prepare?(): void
  /** One look: rejects while the program is not ready. */
  ready(): Promise<void>
}

/** Where a program's pid and log files are. */
export type Places = { readonly run: string; readonly log: string }

export type RunningProgram = {
  readonly pid: number
  /** Settles when the process has ended. */
  readonly ended: Promise<string>
  kill(signal: NodeJS.Signals): void
  /** Asks, waits, and at last kills with everything it started. */
  stop(): Promise<void>
}

const POLL_MS = 25
const LAST_WORDS_MAX = 400
const LOG_BYTES_MAX = 16 * 1024 * 1024

/**
 * Starts a program in a process group of its own (a Ctrl-C in the terminal is ours to pass on) and
 * waits until it is ready.
 *
 * @param signal gives up waiting and stops it
 * @throws {SetupError} with the log's own last words when it ends or is not ready in time; it does
 *   not run on in that case.
 */
export async function startProgram(
  program: Program,
  places: Places,
  signal?: AbortSignal,
): Promise<RunningProgram> {
  program.prepare?.()
  mkdirSync(places.log, { recursive: true })
  const log = path.join(places.log, `${program.name}.log`)
  if (sizeOf(log) > LOG_BYTES_MAX) renameSync(log, `${log}.1`)
  const from = sizeOf(log)
  const fd = openSync(log, 'a', 0o640)
  const child = spawn(program.file, program.args, {
    cwd: program.cwd ?? '/',
    env: program.env,
    detached: true,
    stdio: ['ignore', fd, fd],
    ...(program.account ? { uid: program.account.uid, gid: program.account.gid } : {}),
  })
  closeSync(fd)
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  const { pid } = child
  if (pid === undefined) throw new SetupError(`${program.name} did not start: ${await ended}`)
  const record = writePid(places.run, program, pid)
  let over = false
  void ended.then(() => {
    over = true
    rmSync(record, { force: true })
  })
  const running: RunningProgram = {
    pid,
    ended,
    kill: (signal) => void (over || signalTo(pid, signal)),
    async stop() {
      if (over) return
      signalTo(pid, program.stopSignal)
      const stopped = await within(ended, program.stopSeconds)
      if (!stopped) signalTo(-pid, 'SIGKILL')
      await ended
    },
  }
  await untilReady(program, running, { log, from, signal })
  return running
}

/**
 * Ends the programs whose supervisor died before it could: they are known by pid and start time,
 * so that a pid given to another process since is left alone.
 *
 * @returns names of the programs that were still running
 */
export async function stopOrphans(run: string): Promise<string[]> {
  mkdirSync(run, { recursive: true })
  const records = readdirSync(run).filter((file) => file.endsWith('.pid'))
  const stopped = await Promise.all(
    records.map(async (file) => {
      const record = path.join(run, file)
      const { pid, started, stopSignal, stopSeconds } = readRecord(record)
      const alive = () => pid !== undefined && startTimeOf(pid) === started
      const name = path.basename(file, '.pid')
      if (pid === undefined || !alive()) {
        rmSync(record, { force: true })
        return []
      }
      signalTo(pid, stopSignal)
      const deadline = Date.now() + stopSeconds * 1000
      while (alive() && Date.now() < deadline) await setTimeout(POLL_MS)
      if (alive()) signalTo(-pid, 'SIGKILL')
      while (alive()) await setTimeout(POLL_MS)
      rmSync(record, { force: true })
      return [name]
    }),
  )
  return stopped.flat()
}

/**
 * When a process started, as the system tells it, or `undefined` if it is gone. A zombie is gone:
 * in a container nobody may ever reap it.
 */
export function startTimeOf(pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      // The name in parentheses may hold spaces: fields are counted after it (proc(5), field 3 on).
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')
      const isZombie = fields?.[0] === 'Z' || fields?.[0] === 'X'
      // While its other threads are still ending it keeps its files: its locks and its ports.
      if (isZombie && readdirSync(`/proc/${pid}/task`).length <= 1) return undefined
      return fields?.[19]
    }
    const args = ['-o', 'stat=,lstart=', '-p', String(pid)]
    const [state, ...started] = execFileSync('ps', args).toString().trim().split(/\s+/)
    return state?.startsWith('Z') ? undefined : started.join(' ')
  } catch {
    return undefined
  }
}

async function untilReady(
  program: Program,
  running: RunningProgram,
  { log, from, signal }: { log: string; from: number; signal: AbortSignal | undefined },
): Promise<void> {
  let end: string | undefined
  void running.ended.then((how) => {
    end = how
  })
  const deadline = Date.now() + program.readySeconds * 1000
  let last: unknown
  while (end === undefined && Date.now() < deadline && !signal?.aborted) {
    try {
      await program.ready()
      return
    } catch (error) {
      last = error
    }
    await setTimeout(POLL_MS)
  }
  await running.stop()
  signal?.throwIfAborted()
  const why = (end && lastWords(log, from)) ?? (last as Error | undefined)?.message ?? 'no answer'
  const what = end ? `ended (${end})` : `was not ready in ${program.readySeconds} s`
  throw new SetupError(`${program.name} ${what}: ${why} (log: ${log})`)
}

/** The line of this run's log that says why it ended. */
function lastWords(log: string, from: number): string | undefined {
  const lines = readFileSync(log).subarray(from).toString().trim().split('\n').filter(Boolean)
  const line =
    // A service's own first fatal line; a server's or Node's last complaint; else whatever was last.
    lines.find((text) => /"level":("fatal"|60)/.test(text)) ??
    lines.findLast((text) => /^\S*Error\b|FATAL|PANIC|\[ERR\]|\[FTL\]/.test(text)) ??
    lines.findLast((text) => /fatal|error/i.test(text)) ??
    lines.at(-1)
  return line && (messageOf(line) ?? line.trim()).slice(0, LAST_WORDS_MAX)
}

/** What a line of a service's JSON log says. */
function messageOf(line: string): string | undefined {
  try {
    const { msg, err, reason } = JSON.parse(line) as {
      msg?: string
      err?: { message?: string }
      reason?: string
    }
    const said = [msg, err?.message, reason].filter(Boolean)
    return said.join(': ').replace(/\s+/g, ' ')
  } catch {
    return undefined
  }
}

type PidRecord = {
  pid?: number
  started?: string
  stopSignal: NodeJS.Signals
  stopSeconds: number
}

function writePid(run: string, program: Program, pid: number): string {
  mkdirSync(run, { recursive: true })
  const { stopSignal, stopSeconds } = program
  const started = startTimeOf(pid)
  const record: PidRecord = { pid, stopSignal, stopSeconds, ...(started ? { started } : {}) }
  const file = path.join(run, `${program.name}.pid`)
  writeFileSync(file, JSON.stringify(record))
  return file
}

function readRecord(file: string): PidRecord {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as PidRecord
  } catch {
    return { stopSignal: 'SIGTERM', stopSeconds: 0 }
  }
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended in the meantime, which is what was wanted.
  }
}

async function within(ended: Promise<string>, seconds: number): Promise<boolean> {
  const timer = new AbortController()
  const late = setTimeout(seconds * 1000, false, { signal: timer.signal }).catch(() => false)
  const stopped = await Promise.race([ended.then(() => true), late])
  timer.abort()
  return stopped
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
