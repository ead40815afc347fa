import { fullJitter } from './jitter.ts'

/** A call that was not sent, because there was nobody to send it to. */
export type Waiting = {
  /** Try again. */
  resume(): void
  /** It has been away for too long. */
  giveUp(): void
}

/**
 * The time in which a subgraph is out of reach. Calls wait here while it restarts; one at a time
 * tries, and the first that gets an answer lets all others go.
 */
export type Outage = {
  /** Whether a call should wait rather than try for itself. */
  readonly isOn: boolean
  /** Nobody could be reached. @returns false when it has been so for too long to wait */
  wait(call: Waiting): boolean
  /** The call waits no more, for a reason of its own. */
  leave(call: Waiting): void
  /** It answered. */
  reached(): void
}

const BASE_MS = 50
const MAX_MS = 500

/** @param withinMs how long calls wait, from when it was first out of reach */
export function createOutage(withinMs: number): Outage {
  const waiting = new Set<Waiting>()
  let since: number | null = null
  let attempt = 0
  let timer: NodeJS.Timeout | undefined

  return {
    get isOn() {
      return since !== null && performance.now() - since < withinMs
    },
    wait(call) {
      since ??= performance.now()
      if (performance.now() - since >= withinMs) return false
      waiting.add(call)
      if (timer === undefined) schedule(since)
      return true
    },
    leave(call) {
      waiting.delete(call)
      if (waiting.size === 0) stop()
    },
    reached() {
      if (since === null) return
      since = null
      attempt = 0
      stop()
      release((it) => it.resume())
    },
  }

  function schedule(from: number): void {
    const leftMs = withinMs - (performance.now() - from)
    timer = setTimeout(tick, Math.max(1, Math.min(leftMs, fullJitter(attempt++, BASE_MS, MAX_MS))))
  }

  function tick(): void {
    timer = undefined
    if (since === null) return
    if (performance.now() - since >= withinMs) {
      release((it) => it.giveUp())
      return
    }
    const [first] = waiting
    if (!first) return
    waiting.delete(first)
    // Before it may be back at once.
    schedule(since)
    first.resume()
  }

  function stop(): void {
    clearTimeout(timer)
    timer = undefined
  }

  function release(each: (call: Waiting) => void): void {
    const all = [...waiting]
    waiting.clear()
    for (const call of all) each(call)
  }
}
