import type { Clock } from '@berth/platform/clock'

/** How many messages one connection may send. */
export type MessageRate = { readonly perSecond: number; readonly burst: number }

export const MESSAGE_RATE: MessageRate = Object.freeze({ perSecond: 100, burst: 1_000 })

/** One connection's count: a token bucket of two numbers, so that an idle one costs nothing. */
export class MessageMeter {
  readonly #rate: MessageRate
  readonly #clock: Clock
  #left: number
  #at: number

  constructor(rate: MessageRate, clock: Clock) {
    this.#rate = rate
    this.#clock = clock
    this.#left = rate.burst
    this.#at = clock.now().getTime()
  }

  /** Whether one more message is within the rate. */
  take(): boolean {
    const { perSecond, burst } = this.#rate
    const now = this.#clock.now().getTime()
    // A clock that was set back gives nothing and takes nothing.
    const gained = (Math.max(0, now - this.#at) / 1_000) * perSecond
    this.#left = Math.min(burst, this.#left + gained)
    this.#at = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}
