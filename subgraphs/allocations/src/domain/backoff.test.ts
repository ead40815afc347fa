import fc from 'fast-check'
import { expect, test } from 'vitest'
import { retryAt } from './backoff.ts'

const now = new Date('2026-01-01T00:00:00.000Z')

test.each([
  { attempts: 1, from: 0.25, to: 0.5 },
  { attempts: 4, from: 2, to: 4 },
  { attempts: 100, from: 10, to: 20 },
])('attempt $attempts is repeated within $from to $to s', ({ attempts, from, to }) => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (chance) => {
      const seconds = (retryAt(now, attempts, chance).getTime() - now.getTime()) / 1_000
      expect(seconds).toBeGreaterThanOrEqual(from - 0.001)
      expect(seconds).toBeLessThanOrEqual(to)
    }),
  )
})
