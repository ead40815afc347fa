import { within } from './abort.ts'
import type { Log } from './log.ts'

export type ReadinessChecks = Readonly<Record<string, () => Promise<void>>>

export type Readiness = {
  status: 'ready' | 'not ready'
  checks: Record<string, 'ok' | 'failed'>
}

const CHECK_TIMEOUT_MS = 2_000

/** Asks every check at once; one that takes too long has failed. Causes are logged, not shown. */
export async function readiness(
  checks: ReadinessChecks,
  { draining, log }: { draining: boolean; log: Log },
): Promise<Readiness> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      try {
        await within(CHECK_TIMEOUT_MS, check(), `no answer within ${CHECK_TIMEOUT_MS} ms`)
        return [name, 'ok'] as const
      } catch (err) {
        log.warn({ err, check: name }, 'readiness check failed')
        return [name, 'failed'] as const
      }
    }),
  )
  if (draining) results.push(['draining', 'failed'])
  const isReady = results.every(([, result]) => result === 'ok')
  return { status: isReady ? 'ready' : 'not ready', checks: Object.fromEntries(results) }
}
