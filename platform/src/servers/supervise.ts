import { setTimeout } from 'node:timers/promises'
import { type Places, type Program, type RunningProgram, startProgram } from './process.ts'

/** Keeps one program running until it is told to stop. */
export type Supervised = {
  readonly name: string
  /** Of the process that runs now. */
  pid(): number | undefined
  /** Starts it, or waits until it runs again. Rejects when it is stopped before it does. */
  start(): Promise<void>
  stop(): Promise<void>
  /** Sends a signal; what ends by it is started again. */
  kill(signal: NodeJS.Signals): void
  /** Ends it by the signal and leaves it down until `start`. */
  down(signal: NodeJS.Signals): Promise<void>
}

export type SupervisionEvent = { name: string; what: 'ended' | 'failed' | 'restarted'; why: string }

const BACKOFF_MS_FIRST = 100
const BACKOFF_MS_MAX = 10_000
/** A program that ran this long had started well: its backoff begins anew. */
const WELL_AFTER_MS = 30_000

/** Starts nothing yet: the first failure to start is the caller's to report, later ones are retried. */
export function supervise(
  program: Program,
  places: Places,
  onEvent: (event: SupervisionEvent) => void = () => {},
): Supervised {
  const { name } = program
  let wanted = false
  let running: RunningProgram | undefined
  let starting: Promise<void> | undefined
  let waiting = new AbortController()

  const launch = async () => {
    const { signal } = waiting
    const launched = await startProgram(program, places, signal)
    // Stopped while it started: whoever waits for it must not take it for running.
    if (signal.aborted) {
      await launched.stop()
      throw signal.reason
    }
    running = launched
    const since = Date.now()
    void launched.ended.then((why) => {
      running = undefined
      if (!wanted) return
      onEvent({ name, what: 'ended', why })
      starting = relaunch(Date.now() - since > WELL_AFTER_MS ? BACKOFF_MS_FIRST : undefined)
    })
  }

  let backoff = BACKOFF_MS_FIRST
  const relaunch = async (reset: number | undefined) => {
    backoff = reset ?? backoff
    while (wanted && !running) {
      await setTimeout(backoff, undefined, { signal: waiting.signal }).catch(() => {})
      backoff = Math.min(backoff * 2, BACKOFF_MS_MAX)
      if (!wanted) return
      try {
        await launch()
        onEvent({ name, what: 'restarted', why: `pid ${supervised.pid()}` })
      } catch (error) {
        if (!wanted) return
        onEvent({ name, what: 'failed', why: (error as Error).message })
      }
    }
  }

  const end = async (how: () => Promise<void> | undefined) => {
    wanted = false
    waiting.abort()
    await how()
    await starting?.catch(() => {}) // What had not started yet is stopped by its own start.
    await running?.stop()
  }

  const supervised: Supervised = {
    name,
    pid: () => running?.pid,
    async start() {
      if (!wanted) {
        wanted = true
        waiting = new AbortController()
        backoff = BACKOFF_MS_FIRST
        starting = launch().catch((error) => {
          wanted = false
          throw error
        })
      }
      await starting
    },
    stop: () => end(() => running?.stop()),
    kill: (signal) => running?.kill(signal),
    down: (signal) =>
      end(async () => {
        running?.kill(signal)
        await running?.ended
      }),
  }
  return supervised
}
