import { expect, test } from 'vitest'
import { fakeClock } from './clock.ts'

test('a fake clock stands still until it is advanced, by fractions too', () => {
  const clock = fakeClock('2026-01-01T00:00:00.000Z')
  expect(clock.now()).toEqual(clock.now())
  clock.advance(1.5)
  expect(clock.now().toISOString()).toBe('2026-01-01T00:00:01.500Z')
  clock.now().setFullYear(1999)
  expect(clock.now().getUTCFullYear()).toBe(2026)
})
