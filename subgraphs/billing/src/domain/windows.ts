/** A part of a meter's run, in whole seconds since its start. */
export type Window = {
  readonly fromSeconds: bigint
  readonly toSeconds: bigint
  readonly start: Date
  /** Exclusive. */
  readonly end: Date
}

/** Whole seconds from a meter's start to an instant; 0 when it lies before. */
export function wholeSeconds(startedAt: Date, at: Date): bigint {
  return BigInt(Math.max(0, Math.floor((at.getTime() - startedAt.getTime()) / 1_000)))
}

/**
 * The windows between two numbers of seconds since a meter's start, cut where a month (UTC) turns:
 * the window that reaches the turn ends with the second that holds it, so that each lies in the
 * month of its start. None when there is nothing between.
 */
export function windowsBetween(startedAt: Date, fromSeconds: bigint, toSeconds: bigint): Window[] {
  const windows: Window[] = []
  for (let from = fromSeconds; from < toSeconds; ) {
    const turn = secondsToNextMonth(startedAt, from)
    const to = turn < toSeconds ? turn : toSeconds
    windows.push(window(startedAt, from, to))
    from = to
  }
  return windows
}

export function window(startedAt: Date, fromSeconds: bigint, toSeconds: bigint): Window {
  return {
    fromSeconds,
    toSeconds,
    start: after(startedAt, fromSeconds),
    end: after(startedAt, toSeconds),
  }
}

function after(startedAt: Date, seconds: bigint): Date {
  return new Date(startedAt.getTime() + Number(seconds) * 1_000)
}

/** Since the meter's start; always later than `from`. */
function secondsToNextMonth(startedAt: Date, from: bigint): bigint {
  const start = after(startedAt, from)
  const turn = Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1)
  return BigInt(Math.ceil((turn - startedAt.getTime()) / 1_000))
}
