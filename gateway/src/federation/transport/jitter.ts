/**
 * Full jitter: anything from nothing to the whole, which doubles each time. Those who failed
 * together do not come back together.
 *
 * @param attempt from 0
 * @returns milliseconds
 */
export function fullJitter(attempt: number, baseMs: number, maxMs: number): number {
  return Math.random() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 20))
}
