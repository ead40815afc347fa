/** How long and how often one subgraph is asked. Times are in milliseconds. */
export type SubgraphLimits = {
  /** From the call to its whole answer, repetitions included. */
  readonly queryTimeoutMs: number
  readonly mutationTimeoutMs: number
  readonly maxAnswerBytes: number
  /** Sent and not yet answered, and waiting for a connection; more are refused at once. */
  readonly maxInFlight: number
  /**
   * For so long after it was first out of reach, calls wait for it to come back, as one that
   * restarts does. Afterwards they fail at once.
   */
  readonly restartWithinMs: number
  /** The breaker opens when of all calls of this time… */
  readonly breakerWindowMs: number
  /** …more than this share failed, between 0 and 1,… */
  readonly breakerThreshold: number
  /** …and there were at least so many calls per second. */
  readonly breakerMinimumRps: number
  /** From opening to the first call that is let through to find out. */
  readonly breakerOpenMs: number
}

export const SUBGRAPH_LIMITS: SubgraphLimits = Object.freeze({
  queryTimeoutMs: 10_000,
  mutationTimeoutMs: 30_000,
  maxAnswerBytes: 8 * 1024 * 1024,
  maxInFlight: 10_000,
  restartWithinMs: 5_000,
  breakerWindowMs: 10_000,
  breakerThreshold: 0.5,
  breakerMinimumRps: 2,
  breakerOpenMs: 1_000,
})
