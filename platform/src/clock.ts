/** Where the time comes from: an argument, so that a test can set it. */
export type Clock = { now(): Date }

export const systemClock: Clock = { now: () => new Date() }

export type FakeClock = Clock & {
  advance(seconds: number): void
}

/** A clock that stands still until it is told to advance. */
export function fakeClock(start: Date | string = '2026-01-01T00:00:00.000Z'): FakeClock {
  let time = new Date(start).getTime()
  if (Number.isNaN(time)) throw new RangeError('start of a fake clock')
  return {
    now: () => new Date(time),
    advance(seconds) {
      time += seconds * 1000
    },
  }
}
