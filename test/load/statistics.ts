/** The middle value; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** The value that `share` (0 to 1) of all do not exceed, by nearest rank; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** Three significant digits, and whole above 1,000: what such a measurement can say. */
export function round3(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3))
}

/** One demand on a measurement. */
export type Bar = { readonly value: number; readonly want: string; readonly ok: boolean }

export function atLeast(value: number, want: number): Bar {
  return { value: round3(value), want: `>= ${want}`, ok: value >= want }
}

export function atMost(value: number, want: number): Bar {
  return { value: round3(value), want: `<= ${want}`, ok: value <= want }
}

export function below(value: number, want: number): Bar {
  return { value: round3(value), want: `< ${want}`, ok: value < want }
}

export function equal(value: number, want: number): Bar {
  return { value: round3(value), want: `== ${want}`, ok: value === want }
}
