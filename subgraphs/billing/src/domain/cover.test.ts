import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fullCover, renewed } from './cover.ts'
import { costBetween } from './rating.ts'

/** A micro-unit for the window, one for the rest. */
const ROUNDING = 2n

test('a full hold pays for a window, the notice and the deadline', () => {
  const rate = { gpuCount: 2, perHourMicros: 1_800_000n }
  expect(fullCover(rate, { window: 60, notice: 60, stop: 180 })).toBe(300_000n)
})

test('what is held never exceeds what is posted, whatever is used between renewals', () => {
  const rate = { gpuCount: 2, perHourMicros: 1_790_000n }
  const cover = { window: 60, notice: 60, stop: 180 }
  fc.assert(
    fc.property(
      fc.bigInt(0n, 2_000_000n),
      fc.array(fc.bigInt(1n, 60n), { maxLength: 200 }),
      (credit, steps) => {
        const fullMicros = fullCover(rate, cover)
        fc.pre(credit >= fullMicros)
        let posted = credit
        let hold = { amountMicros: fullMicros, fullMicros }
        let at = 0n
        for (const step of steps) {
          posted -= costBetween(rate, at, at + step)
          at += step
          const { amountMicros, isShort } = renewed(hold, posted - hold.amountMicros)
          hold = { amountMicros, fullMicros }
          expect(posted - amountMicros >= 0n).toBe(true)
          expect(isShort).toBe(amountMicros < fullMicros)
          // Told so, its allocation ends within notice and deadline, and what is held pays for that.
          if (isShort) {
            const last = costBetween(rate, at, at + BigInt(cover.notice + cover.stop))
            expect(posted - last >= -ROUNDING).toBe(true)
            return
          }
        }
      },
    ),
    { numRuns: 1_000 },
  )
})

test('a hold is drawn on to nothing, never below', () => {
  expect(renewed({ amountMicros: 10n, fullMicros: 100n }, -30n)).toEqual({
    amountMicros: 0n,
    isShort: true,
  })
})
