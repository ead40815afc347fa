/**
 * The work's outcome, or a rejection with the signal's reason as soon as it is aborted; the work
 * itself goes on. `Promise.race` with a promise that lives long would keep every loser for ever.
 */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** @throws {Error} with the message when the work takes longer */
export async function within<T>(ms: number, work: Promise<T>, message: string): Promise<T> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error(message)), ms)
  try {
    return await unlessAborted(work, late.signal)
  } finally {
    clearTimeout(timer)
  }
}

/** Sleeps, but no longer than until the signal. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
  })
}
