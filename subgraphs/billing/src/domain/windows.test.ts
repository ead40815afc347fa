import fc from 'fast-check'
import { expect, test } from 'vitest'
import { wholeSeconds, windowsBetween } from './windows.ts'

const monthOf = (date: Date) => date.toISOString().slice(0, 7)

test('windows cover the seconds without gap or overlap, each in the month of its start', () => {
  fc.assert(
    fc.property(
      fc.date({
        min: new Date('2026-01-01T00:00:00Z'),
        max: new Date('2030-01-01T00:00:00Z'),
        noInvalidDate: true,
      }),
      fc.integer({ min: 0, max: 5_000_000 }),
      fc.integer({ min: 0, max: 10_000_000 }),
      (startedAt, from, length) => {
        const to = BigInt(from + length)
        const windows = windowsBetween(startedAt, BigInt(from), to)
        let at = BigInt(from)
        for (const [n, window] of windows.entries()) {
          expect(window.fromSeconds).toBe(at)
          expect(window.toSeconds > at).toBe(true)
          const lastMillisecond = new Date(window.end.getTime() - 1_000)
          expect(monthOf(lastMillisecond) <= monthOf(window.start)).toBe(true)
          if (n > 0) expect(monthOf(window.start) > monthOf(windows[n - 1]!.start)).toBe(true)
          at = window.toSeconds
        }
        expect(at).toBe(to)
      },
    ),
  )
})

test('a window that reaches the turn of a month ends with the second that holds it', () => {
  const windows = windowsBetween(new Date('2026-01-31T23:59:50.500Z'), 0n, 20n)
  expect(windows.map(({ start, end }) => [start.toISOString(), end.toISOString()])).toEqual([
    ['2026-01-31T23:59:50.500Z', '2026-02-01T00:00:00.500Z'],
    ['2026-02-01T00:00:00.500Z', '2026-02-01T00:00:10.500Z'],
  ])
})

test.each([
  ['2026-01-01T00:00:00.000Z', 0n],
  ['2026-01-01T00:00:00.999Z', 0n],
  ['2026-01-01T00:00:01.000Z', 1n],
  ['2025-12-31T00:00:00.000Z', 0n],
])('a meter started at midnight has run whole seconds until %s: %s', (at, seconds) => {
  expect(wholeSeconds(new Date('2026-01-01T00:00:00Z'), new Date(at))).toBe(seconds)
})
