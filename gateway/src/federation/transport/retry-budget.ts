/** What repetitions may cost: a share of all calls, so that they cannot make an outage worse. */
export type RetryBudget = {
  /** @param nowMs of a clock that does not go back */
  called(nowMs: number): void
  /** @returns whether one more repetition is affordable; then it is spent */
  spend(nowMs: number): boolean
}

const SECONDS = 10
const SHARE = 0.2
/** Those of a quiet time, when a share of the calls would be none. */
const FLOOR = 10

/** Counts by the second, over the last ten. */
export function createRetryBudget(): RetryBudget {
  const calls = new Uint32Array(SECONDS)
  const spent = new Uint32Array(SECONDS)
  let current = 0

  return {
    called(nowMs) {
      calls[at(nowMs)]!++
    },
    spend(nowMs) {
      const slot = at(nowMs)
      if (sum(spent) >= Math.max(FLOOR, SHARE * sum(calls))) return false
      spent[slot]!++
      return true
    },
  }

  function at(nowMs: number): number {
    const second = Math.floor(nowMs / 1000)
    if (second !== current) {
      const passed = Math.min(second - current, SECONDS)
      for (let i = 1; i <= passed; i++) {
        const slot = (current + i) % SECONDS
        calls[slot] = 0
        spent[slot] = 0
      }
      current = second
    }
    return second % SECONDS
  }
}

function sum(counts: Uint32Array): number {
  let total = 0
  for (const count of counts) total += count
  return total
}
