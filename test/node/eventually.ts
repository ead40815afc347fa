import { expect } from 'vitest'

/** Asks until it is so, for as long as a busy machine may take. */
export function eventually<T>(ask: () => T | Promise<T>, options: { interval?: number } = {}) {
  return expect.poll(ask, { timeout: 15_000, ...options })
}
