import type { GraphQLDataSource } from '@apollo/gateway'
import { ACTOR_HEADER, type AssertionSigner } from '@berth/platform/assertion'
import { DomainError, isErrorCode } from '@berth/platform/errors'
import type { Metrics } from '@berth/platform/metrics'
import type { PeerPool, Peers } from '@berth/platform/peers'
import type { Dispatcher } from 'undici'
import type { GatewayContext } from '../context.ts'
import { type SubgraphAnswer, unanswered, withKnownErrors } from './answers.ts'

export type DataSourceLimits = {
  readonly queryTimeoutMs: number
  readonly mutationTimeoutMs: number
  readonly maxAnswerBytes: number
}

const LIMITS: DataSourceLimits = {
  queryTimeoutMs: 10_000,
  mutationTimeoutMs: 30_000,
  maxAnswerBytes: 8 * 1024 * 1024,
}

/**
 * Asks one subgraph over HTTP, as the operation's actor. It does not reject: a subgraph that is down
 * fails its own fields, and each of them.
 */
export function createDataSource({
  service,
  peers,
  signer,
  metrics,
  limits = LIMITS,
}: {
  service: string
  peers: Pick<Peers, 'pool'>
  signer: AssertionSigner
  metrics: Metrics
  limits?: DataSourceLimits
}): GraphQLDataSource {
  const pool = peers.pool(service)
  const durations = metrics.histogram(
    'berth_subgraph_request_duration_seconds',
    'Calls of subgraphs by outcome',
    ['subgraph', 'outcome'],
  )

  return {
    async process({ request, context }) {
      const startedAt = performance.now()
      let outcome = 'OK'
      try {
        const { query, variables, operationName } = request
        const isMutation = /^\s*mutation\b/.test(query ?? '')
        const body = JSON.stringify({ query, variables, operationName })
        const headers = await headersFor(context as GatewayContext, isMutation)
        const answer = await ask(pool, { headers, body, isMutation, limits, service })
        return withKnownErrors(service, answer)
      } catch (error) {
        outcome = error instanceof DomainError ? error.code : 'INTERNAL'
        ;(context as GatewayContext).log.warn({ err: error, subgraph: service }, 'subgraph failed')
        return unanswered(error, request)
      } finally {
        durations.observe({ subgraph: service, outcome }, (performance.now() - startedAt) / 1000)
      }
    },
  }

  async function headersFor(context: GatewayContext, isMutation: boolean) {
    const { actor, requestId, traceparent, idempotencyKey } = context
    return {
      'content-type': 'application/json',
      accept: 'application/json',
      [ACTOR_HEADER]: await signer.sign(actor, service),
      'x-request-id': requestId,
      traceparent,
      ...(isMutation && idempotencyKey !== null ? { 'idempotency-key': idempotencyKey } : {}),
    }
  }
}

type Ask = {
  headers: Record<string, string>
  body: string
  isMutation: boolean
  limits: DataSourceLimits
  service: string
}

/** A read is repeated once when the connection failed; a mutation only when it was never sent. */
async function ask(pool: PeerPool, request: Ask): Promise<SubgraphAnswer> {
  const { isMutation, limits } = request
  const signal = AbortSignal.timeout(isMutation ? limits.mutationTimeoutMs : limits.queryTimeoutMs)
  try {
    return await exchange(pool, request, signal)
  } catch (error) {
    if (isMutation || !isRepeatable(error)) throw error
    return await exchange(pool, request, signal)
  }
}

async function exchange(
  pool: PeerPool,
  request: Ask,
  signal: AbortSignal,
): Promise<SubgraphAnswer> {
  const { headers, body, isMutation, limits, service } = request
  const response = await pool.request({
    method: 'POST',
    path: '/graphql',
    headers,
    body,
    signal,
    idempotent: !isMutation,
  })
  const text = await read(response, limits.maxAnswerBytes, service).catch((cause: unknown) => {
    if (cause instanceof DomainError) throw cause
    if (signal.aborted) throw new DomainError('TIMEOUT', `${service} took too long`, { cause })
    throw new DomainError('UPSTREAM_UNAVAILABLE', `${service} broke off`, { cause })
  })
  return answerOf(response.statusCode, text, service)
}

function isRepeatable(error: unknown): boolean {
  return (
    error instanceof DomainError &&
    (error.code === 'UPSTREAM_UNAVAILABLE' || error.code === 'UNAVAILABLE')
  )
}

async function read({ body }: Dispatcher.ResponseData, maxBytes: number, service: string) {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length
    // Leaving the loop destroys the connection, and with it the rest of the answer.
    if (bytes > maxBytes) {
      throw new DomainError(
        'TOO_COMPLEX',
        `${service} answered more than ${maxBytes} bytes: ask for less`,
      )
    }
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function answerOf(status: number, text: string, service: string): SubgraphAnswer {
  const json = parseObject(text)
  if (json && ('data' in json || Array.isArray(json.errors))) return json as SubgraphAnswer
  // An error of the HTTP layer, such as a replica that is draining.
  const { code, message } = (json?.error ?? {}) as { code?: unknown; message?: unknown }
  if (isErrorCode(code) && code === 'UNAVAILABLE') {
    throw new DomainError('UNAVAILABLE', String(message))
  }
  if (status >= 502 && status <= 504) {
    throw new DomainError('UPSTREAM_UNAVAILABLE', `The service ${service} does not answer`)
  }
  throw new Error(`${service} answered ${status} and no GraphQL result`)
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const json: unknown = JSON.parse(text)
    return json && typeof json === 'object' && !Array.isArray(json)
      ? (json as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}
