import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { costBetween, priceOf } from './rating.ts'

describe('the price of GPU time', () => {
  test.each([
    { gpuSeconds: 0n, perHour: 1_790_000n, price: 0n },
    { gpuSeconds: 3_600n, perHour: 1_790_000n, price: 1_790_000n },
    { gpuSeconds: 1n, perHour: 1_790_000n, price: 497n },
    { gpuSeconds: 1n, perHour: 1_800n, price: 1n },
    { gpuSeconds: 1n, perHour: 1_799n, price: 0n },
    { gpuSeconds: 16n * 86_400n * 366n, perHour: 2_990_000n, price: 420_226_560_000n },
  ])('$gpuSeconds GPU-s at $perHour µ/h costs $price µ', ({ gpuSeconds, perHour, price }) => {
    expect(priceOf(gpuSeconds, perHour)).toBe(price)
  })

  test('is off by half a micro-unit at most', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 10n ** 12n), fc.bigInt(0n, 10n ** 9n), (gpuSeconds, perHour) => {
        const error = priceOf(gpuSeconds, perHour) * 3_600n - gpuSeconds * perHour
        expect(error >= -1_800n && error <= 1_800n).toBe(true)
      }),
    )
  })

  test.each([
    [-1n, 1n],
    [1n, -1n],
  ])('refuses %s GPU-s at %s', (gpuSeconds, perHour) => {
    expect(() => priceOf(gpuSeconds, perHour)).toThrow(RangeError)
  })
})

test('windows add up to the whole however they are cut', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 16 }),
      fc.bigInt(0n, 10n ** 8n),
      fc.array(fc.bigInt(1n, 100_000n), { maxLength: 50 }),
      (gpuCount, perHourMicros, lengths) => {
        const rate = { gpuCount, perHourMicros }
        let at = 0n
        let sum = 0n
        for (const length of lengths) {
          const cost = costBetween(rate, at, at + length)
          expect(cost >= 0n).toBe(true)
          sum += cost
          at += length
        }
        expect(sum).toBe(priceOf(at * BigInt(gpuCount), perHourMicros))
      },
    ),
  )
})
