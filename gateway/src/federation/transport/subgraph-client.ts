import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Peers } from '@berth/platform/peers'
import type { GatewayContext } from '../../context.ts'
import type { SubgraphAnswer, Take } from '../answers.ts'
import { createBreaker } from './breaker.ts'
import { type Asked, Call, type Subgraph } from './call.ts'
import { SUBGRAPH_LIMITS, type SubgraphLimits } from './limits.ts'
import { createOutage } from './outage.ts'
import { createReplicas } from './replicas.ts'
import { createRetryBudget } from './retry-budget.ts'

export type SubgraphClient = {
  /**
   * Sends one GraphQL request. `body` is the whole JSON text.
   *
   * @param take is given the answer first, if it is one: what it takes is not parsed
   * @returns parsed JSON that belongs to the caller: errors as the subgraph sent them
   * @throws {DomainError} UPSTREAM_UNAVAILABLE, UNAVAILABLE, TIMEOUT, TOO_COMPLEX (the answer is too
   * large); a plain Error is a fault
   */
  ask(
    body: string,
    isMutation: boolean,
    context: GatewayContext,
    take?: Take,
  ): Promise<SubgraphAnswer>
}

/** By the subgraph's name. */
export type SubgraphClients = Readonly<Record<string, SubgraphClient>>

/**
 * Asks one subgraph over HTTP. The connections are those of `peers`, and closed with them.
 *
 * @param peers knows the origins of its replicas by the service's name
 * @param path of the endpoint, the same at each replica
 */
export function createSubgraphClient({
  service,
  peers,
  path = '/graphql',
  metrics,
  limits: given = {},
  log,
}: {
  service: string
  peers: Pick<Peers, 'pool'>
  path?: string
  metrics: Metrics
  limits?: Partial<SubgraphLimits>
  log: Log
}): SubgraphClient {
  const limits = { ...SUBGRAPH_LIMITS, ...given }
  const breaker = createBreaker({ service, limits, metrics, log })
  const durations = metrics.histogram(
    'berth_subgraph_request_duration_seconds',
    'Calls of subgraphs by outcome',
    ['subgraph', 'outcome'],
  )
  const repeats = metrics.counter(
    'berth_subgraph_repeats_total',
    'Requests that were sent to a subgraph again, by reason',
    ['subgraph', 'reason'],
  )
  // Found by its labels, it would be looked for every time.
  const succeeded = durations.labels({ subgraph: service, outcome: 'OK' })
  const subgraph: Subgraph = {
    service,
    path,
    limits,
    replicas: createReplicas(peers.pool(service)),
    outage: createOutage(limits.restartWithinMs),
    budget: createRetryBudget(),
    inFlight: 0,
    repeated: (reason) => repeats.inc({ subgraph: service, reason }),
    settled(call, error) {
      const seconds = (performance.now() - call.startedAt) / 1000
      if (error === undefined) succeeded.observe(seconds)
      else {
        durations.observe({ subgraph: service, outcome: codeOf(error) }, seconds)
        call.log.warn({ err: error, subgraph: service }, 'subgraph failed')
      }
      // A probe is counted by who sent it.
      if (call.isProbe) return
      if (error === undefined) breaker.succeeded()
      else breaker.failed(error, call.startedAt)
    },
  }

  return {
    ask(body, isMutation, context, take) {
      const isProbe = !breaker.isClosed
      const asked = { body, isMutation, isProbe, take, log: context.log }
      return isProbe ? breaker.probe(() => start(asked, context)) : start(asked, context)
    },
  }

  function start(asked: Asked, context: GatewayContext): Promise<SubgraphAnswer> {
    const { isMutation } = asked
    const call = new Call(subgraph, asked)
    subgraph.budget.called(call.startedAt)
    const own = context.credentials.headers(service)
    if (own instanceof Promise) {
      own.then(
        (it) => call.begin(headersOf(it, isMutation, context)),
        (error: unknown) => call.fail(error),
      )
    } else call.begin(headersOf(own, isMutation, context))
    return call.promise
  }
}

function headersOf(
  own: Record<string, string>,
  isMutation: boolean,
  { requestId, traceparent, idempotencyKey }: GatewayContext,
): Record<string, string> {
  const headers: Record<string, string> = {
    ...own,
    'content-type': 'application/json',
    accept: 'application/json',
    'x-request-id': requestId,
    traceparent,
  }
  if (isMutation && idempotencyKey !== null) headers['idempotency-key'] = idempotencyKey
  return headers
}

function codeOf(error: unknown): string {
  return error instanceof DomainError ? error.code : 'INTERNAL'
}
