import { DomainError } from '@berth/platform/errors'
import { createWeightedCache } from '@berth/platform/weighted-cache'
import { partyOf } from './party.ts'
import type { Caller } from './rates.ts'

export type PlanningBudget = {
  /**
   * Makes what is made once per operation, at its caller's expense. What is known already costs
   * nothing, and is not asked for here.
   *
   * @throws {DomainError} RATE_LIMITED with `retryAfterSeconds`, while the caller is in debt
   */
  spend<T>(caller: Caller, make: () => T): T
}

/** Of one caller, in milliseconds of this process's time. */
const BURST_MS = 5_000
/** What grows back: a tenth of a core. */
const MS_PER_SECOND = 100
const MAX_CALLERS = 10_000

/**
 * Planning cannot be interrupted, and nobody knows beforehand how long it will take. So each caller
 * has an account, and whoever has overdrawn it with documents that were new waits: everyone else is
 * planned for, and the caller's own known documents run as ever.
 *
 * @param usedMs time that this thread has used so far
 */
export function createPlanningBudget({
  now = () => performance.now(),
  usedMs = threadMs,
}: {
  now?: () => number
  usedMs?: () => number
} = {}): PlanningBudget {
  const accounts = createWeightedCache<string, { debt: number; at: number }>({
    maxWeight: MAX_CALLERS,
  })
  return {
    spend({ actor, clientIp }, make) {
      const key = partyOf(actor, clientIp)
      let account = accounts.get(key)
      if (!account) {
        account = { debt: 0, at: now() }
        accounts.set(key, account, 1)
      }
      const at = now()
      account.debt = Math.max(0, account.debt - ((at - account.at) / 1_000) * MS_PER_SECOND)
      account.at = at
      const excess = account.debt - BURST_MS
      if (excess >= 0) {
        const wait = Math.max(1, Math.ceil(excess / MS_PER_SECOND))
        throw new DomainError(
          'RATE_LIMITED',
          `Too many new operations: send known ones, or try again in ${wait} s`,
          { retryAfterSeconds: wait },
        )
      }
      const before = usedMs()
      try {
        return make()
      } finally {
        account.debt += usedMs() - before
      }
    },
  }
}

/** For gateways whose callers are limited before they come here. */
export const UNLIMITED_PLANNING: PlanningBudget = Object.freeze({
  spend: <T>(_caller: Caller, make: () => T): T => make(),
})

function threadMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}
