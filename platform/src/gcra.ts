/** So many a minute on average, and so many at once. */
export type Rate = { readonly perMinute: number; readonly burst: number }

export type Decision = {
  readonly allowed: boolean
  /** How many more would be let through now. */
  readonly remaining: number
  /** 0 when allowed; Infinity when the rate lets nothing through at all. */
  readonly retryAfterSeconds: number
}

/**
 * The generic cell rate algorithm on one number per subject: the theoretical arrival time, at which
 * a full burst is available again. In whole microseconds, so that nothing is lost to rounding.
 *
 * @param arrivalAt its value, in microseconds; undefined for a new subject
 * @param units how many to count; more than the burst count as the burst, or it could never be
 * @returns the value to keep, or undefined when refused
 */
export function gcra(
  rate: Rate,
  nowMicros: number,
  arrivalAt: number | undefined,
  units = 1,
): { decision: Decision; arrivalAt: number | undefined } {
  const interval = intervalMicros(rate)
  const next = Math.max(arrivalAt ?? 0, nowMicros) + interval * unitsWithin(rate, units)
  const spare = rate.burst * interval - (next - nowMicros)
  return { decision: decisionOf(spare, rate), arrivalAt: spare < 0 ? undefined : next }
}

/**
 * The same in Redis, by its own clock, for several subjects in their order: one that is refused
 * ends it, and those after it are not counted. KEYS the arrival times, ARGV interval, burst and units
 * of each; returns the spare microseconds of each that was counted, negative when refused.
 */
export const GCRA_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spares = {}
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[3 * i - 2])
  local burst = tonumber(ARGV[3 * i - 1])
  local units = tonumber(ARGV[3 * i])
  local arrival = tonumber(redis.call('GET', key) or now)
  local next = math.max(arrival, now) + interval * units
  local spare = burst * interval - (next - now)
  spares[i] = spare
  if spare < 0 then
    return spares
  end
  redis.call('SET', key, string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
end
return spares
`

/** What is counted against a rate: at most its burst. */
export function unitsWithin({ burst }: Rate, units: number): number {
  return Math.min(Math.max(1, Math.ceil(units)), burst)
}

/** What one request uses up. */
export function intervalMicros({ perMinute }: Rate): number {
  return Math.max(1, Math.round(60_000_000 / perMinute))
}

/** @param spare microseconds of the burst that are left; negative: how long until there are some */
export function decisionOf(spare: number, rate: Rate): Decision {
  return spare < 0
    ? { allowed: false, remaining: 0, retryAfterSeconds: -spare / 1_000_000 }
    : { allowed: true, remaining: Math.floor(spare / intervalMicros(rate)), retryAfterSeconds: 0 }
}

export const CLOSED: Decision = Object.freeze({
  allowed: false,
  remaining: 0,
  retryAfterSeconds: Number.POSITIVE_INFINITY,
})

/** Whether the rate lets nothing through at all. @throws {RangeError} when it is no rate. */
export function isClosed({ perMinute, burst }: Rate): boolean {
  if (!(perMinute >= 0 && burst >= 0 && Number.isFinite(perMinute) && Number.isInteger(burst))) {
    throw new RangeError(`a rate of ${perMinute} a minute, ${burst} at once`)
  }
  return perMinute === 0 || burst === 0
}
