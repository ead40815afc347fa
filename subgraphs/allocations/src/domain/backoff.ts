import { after } from './advance.ts'

const FIRST_SECONDS = 0.5
const MAX_SECONDS = 20

/**
 * When to try again: doubling from half a second to 20 s, with half of it left to chance, so that
 * allocations that failed together do not come back together.
 *
 * @param attempts attempts made in this state, ≥ 1
 * @param chance in [0, 1)
 */
export function retryAt(now: Date, attempts: number, chance: number): Date {
  const seconds = Math.min(MAX_SECONDS, FIRST_SECONDS * 2 ** Math.min(attempts - 1, 30))
  return after(now, seconds * (0.5 + chance / 2))
}
