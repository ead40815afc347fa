import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import {
  BrokenCircuitError,
  CircuitState,
  circuitBreaker,
  handleWhen,
  SamplingBreaker,
} from 'cockatiel'
import type { SubgraphLimits } from './limits.ts'

/** Keeps calls away from a subgraph that fails most of them, until one has shown that it is well. */
export type Breaker = {
  /** Calls go as they come, and are counted by `succeeded` and `failed`. */
  readonly isClosed: boolean
  succeeded(): void
  /** @param startedAt when the call began, as `performance.now()` */
  failed(error: unknown, startedAt: number): void
  /**
   * While it is not closed: lets one call at a time find out, and refuses the others at once.
   *
   * @throws {DomainError} UPSTREAM_UNAVAILABLE with `retryAfterSeconds`
   */
  probe<T>(run: () => Promise<T>): Promise<T>
}

/** How the gauge says it. */
const GAUGE = { closed: 0, 'half-open': 1, open: 2 } as const

/**
 * cockatiel's, over a window of time. While it is closed its counter is fed directly: `execute`
 * would make several promises for each call.
 */
export function createBreaker({
  service,
  limits,
  metrics,
  log,
}: {
  service: string
  limits: SubgraphLimits
  metrics: Metrics
  log: Log
}): Breaker {
  const sampler = new SamplingBreaker({
    threshold: limits.breakerThreshold,
    duration: limits.breakerWindowMs,
    minimumRps: limits.breakerMinimumRps,
  })
  const policy = circuitBreaker(handleWhen(isOutage), {
    breaker: sampler,
    halfOpenAfter: limits.breakerOpenMs,
  })
  const gauge = metrics.gauge(
    'berth_subgraph_breaker_state',
    'Circuit breaker of a subgraph: 0 closed, 1 half-open, 2 open',
    ['subgraph'],
  )
  let openUntil = 0
  let closedAt = 0
  gauge.set({ subgraph: service }, GAUGE.closed)
  policy.onStateChange((state) => {
    const name = nameOf(state)
    if (name === 'open') openUntil = Date.now() + limits.breakerOpenMs
    if (name === 'closed') closedAt = performance.now()
    gauge.set({ subgraph: service }, GAUGE[name])
    const level = name === 'open' ? 'warn' : 'info'
    log[level]({ subgraph: service, state: name }, 'circuit breaker of a subgraph')
  })

  return {
    get isClosed() {
      return policy.state === CircuitState.Closed
    },
    succeeded() {
      if (policy.state === CircuitState.Closed) sampler.success(CircuitState.Closed)
    },
    failed(error, startedAt) {
      if (policy.state !== CircuitState.Closed || !isOutage(error)) return
      // One that began before it was open says nothing about now.
      if (startedAt < closedAt) return
      policy.execute(() => Promise.reject(error)).catch(() => undefined)
    },
    async probe(run) {
      // While one finds out, cockatiel would let the others wait for it.
      if (policy.state === CircuitState.HalfOpen) throw refused()
      try {
        return await policy.execute(run)
      } catch (error) {
        throw error instanceof BrokenCircuitError ? refused() : error
      }
    },
  }

  function refused(): DomainError {
    const retryAfterSeconds = Math.max(1, Math.ceil((openUntil - Date.now()) / 1000))
    return new DomainError('UPSTREAM_UNAVAILABLE', `The service ${service} does not answer`, {
      retryAfterSeconds,
    })
  }
}

/** What the subgraph answered, be it an error or nonsense, is no reason to stop asking it. */
function isOutage(error: unknown): boolean {
  return (
    error instanceof DomainError &&
    (error.code === 'UPSTREAM_UNAVAILABLE' ||
      error.code === 'UNAVAILABLE' ||
      error.code === 'TIMEOUT')
  )
}

function nameOf(state: CircuitState): keyof typeof GAUGE {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}
