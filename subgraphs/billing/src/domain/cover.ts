import type { Micros } from '@berth/platform/money'
import { priceOf, type Rate } from './rating.ts'

/** How long a hold must pay for: a window, the notice, and the deadline to stop. */
export type CoverSeconds = {
  readonly window: number
  readonly notice: number
  readonly stop: number
}

/** A full hold: with it in hand, use that goes on unseen for that long is paid for. */
export function fullCover(rate: Rate, { window, notice, stop }: CoverSeconds): Micros {
  return priceOf(BigInt(window + notice + stop) * BigInt(rate.gpuCount), rate.perHourMicros)
}

/**
 * A hold after use was posted: filled up as far as credit goes, or drawn on when use has already
 * taken what it held.
 *
 * @param availableMicros posted less held, after the posting; negative when use went beyond credit
 * @returns `isShort` when credit no longer fills it: what runs must end within notice and deadline
 */
export function renewed(
  hold: { amountMicros: Micros; fullMicros: Micros },
  availableMicros: Micros,
): { amountMicros: Micros; isShort: boolean } {
  const possible = hold.amountMicros + availableMicros
  if (possible >= hold.fullMicros) return { amountMicros: hold.fullMicros, isShort: false }
  return { amountMicros: possible > 0n ? possible : 0n, isShort: true }
}
