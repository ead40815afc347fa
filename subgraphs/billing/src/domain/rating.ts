import type { Micros } from '@berth/platform/money'

/**
 * Price of GPU time.
 *
 * @param gpuSeconds whole seconds × GPUs, ≥ 0
 * @param perHour micro-units per GPU-hour, ≥ 0
 * @returns micro-units, rounded half up: the only rounding in the money path
 * @throws {RangeError} on a negative input, which is a caller's bug and not a user's
 */
export function priceOf(gpuSeconds: bigint, perHour: Micros): Micros {
  if (gpuSeconds < 0n || perHour < 0n) throw new RangeError('time and rate must be ≥ 0')
  return (gpuSeconds * perHour + 1_800n) / 3_600n
}

/** What a meter counts, and at which price. */
export type Rate = { readonly gpuCount: number; readonly perHourMicros: Micros }

/**
 * Cost of the seconds from one to another since a meter's start: the difference of two cumulative
 * prices, so that windows add up to the whole however they are cut.
 */
export function costBetween(rate: Rate, fromSeconds: bigint, toSeconds: bigint): Micros {
  return cumulative(rate, toSeconds) - cumulative(rate, fromSeconds)
}

function cumulative({ gpuCount, perHourMicros }: Rate, seconds: bigint): Micros {
  return priceOf(seconds * BigInt(gpuCount), perHourMicros)
}
