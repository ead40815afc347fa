/** Wakes one waiter; remembers that it rang, however often, until it is reset. */
export type Bell = {
  ring(): void
  reset(): void
  /** Resolves when it rings or the time is over; at once if it rang since the reset. */
  heard(timeoutSeconds: number): Promise<void>
}

export function createBell(): Bell {
  let rang = false
  let wake: (() => void) | undefined
  return {
    ring() {
      rang = true
      wake?.()
    },
    reset() {
      rang = false
    },
    heard(timeoutSeconds) {
      if (rang) return Promise.resolve()
      return new Promise((resolve) => {
        const timer = setTimeout(done, timeoutSeconds * 1000)
        function done() {
          clearTimeout(timer)
          wake = undefined
          resolve()
        }
        wake = done
      })
    },
  }
}

/**
 * Does the work, then again whenever the bell rings or `pauseSeconds` are over, until the signal.
 *
 * @param work resolves to true when there is more to do at once
 * @param onError hears of failures; the work is tried again after the pause
 */
export async function repeat({
  work,
  bell = createBell(),
  pauseSeconds,
  signal,
  onError,
}: {
  work: () => Promise<boolean>
  bell?: Bell
  pauseSeconds: number
  signal: AbortSignal
  onError: (error: unknown) => void
}): Promise<void> {
  signal.addEventListener('abort', bell.ring)
  while (!signal.aborted) {
    bell.reset()
    let hasMore = false
    try {
      hasMore = await work()
    } catch (error) {
      if (signal.aborted) break
      onError(error)
      // Not woken early: what failed must not be tried in a tight loop.
      bell.reset()
    }
    if (!hasMore && !signal.aborted) await bell.heard(pauseSeconds)
  }
  signal.removeEventListener('abort', bell.ring)
}
