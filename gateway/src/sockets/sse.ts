import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Actor } from '@berth/platform/actor'
import { DomainError, ERROR_CODES, isErrorCode } from '@berth/platform/errors'
import type { HttpHandler, HttpReply, HttpRequest, Routes } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { createHandler, type Handler, type OperationArgs } from 'graphql-sse'
import { presentedBy } from '../authentication/presented.ts'
import type { Standing, Standings } from '../authentication/standing.ts'
import type { Credentials } from '../federation/credentials.ts'
import { createPreflight, withCors } from '../http/cors.ts'
import type { QueueLimits } from './client-queue.ts'
import type { Connections } from './connections.ts'
import { EventStream } from './event-stream.ts'
import type { Operations } from './operations.ts'
import type { SessionLimits } from './session.ts'
import { createSseOperations, type Exchange, type Run } from './sse-operations.ts'
import { checkPreflighted, messageOf, Refusal, TOKEN_HEADER } from './sse-refusals.ts'

export type EventStreams = {
  readonly routes: Routes
  /** Ends every stream: its client connects elsewhere, and resumes. */
  close(): void
}

/**
 * Subscriptions over server-sent events, at `/graphql/stream`, for clients that cannot open
 * WebSockets: graphql-sse's protocol, one connection for each operation or one for all of a client.
 *
 * Its library speaks it, but for two things that it cannot do. It makes the JSON of each event
 * itself, and keeps what a client has not read without bound: so answers, which are text already,
 * go past it, as over WebSocket. And a reservation that nobody connects to stays for ever: so it is
 * ended here, by connecting to it.
 */
export function createEventStreams({
  standings,
  operations,
  connections,
  credentialsFor,
  allowedOrigins,
  forwardedHeaders,
  limits,
  log,
  metrics,
}: {
  standings: Standings
  operations: Operations
  connections: Connections
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  allowedOrigins: readonly string[]
  /** That pages of those may send as well. */
  forwardedHeaders: readonly string[]
  limits: SessionLimits & { readonly queue: QueueLimits }
  log: Log
  metrics: Metrics
}): EventStreams {
  const open = metrics.gauge('berth_client_event_streams', 'Event streams of clients')
  const openOperations = metrics.gauge(
    'berth_client_event_stream_operations',
    'Operations open over event streams',
  )
  const closes = metrics.counter('berth_client_event_streams_closed_total', 'By reason', ['reason'])
  const { prepare, settle } = createSseOperations(operations, limits.operations)
  const streams = new Set<EventStream>()
  /** Those of clients with one for all their operations. */
  const byToken = new Map<string, EventStream>()

  const speak: Handler<HttpRequest, Exchange> = createHandler<HttpRequest, Exchange, Run>({
    authenticate: ({ context }) => context.token,
    // It was validated when it was admitted.
    validate: () => [],
    onSubscribe: async ({ context, raw }, params) =>
      (await prepare(context, raw, params)) as unknown as OperationArgs<Run>,
    execute: ({ contextValue }) => contextValue.run().ending,
    subscribe: ({ contextValue }) => contextValue.run().ending,
  })

  const serve: HttpHandler = async (request, reply) => {
    try {
      const { method, headers } = request
      checkPreflighted(request)
      // Before anything is opened for it; the library would make any failure of it a 400.
      if (method === 'POST') await request.body()
      const token = headers[TOKEN_HEADER]
      if (method === 'PUT') return await reserve(request, reply)
      if (typeof token === 'string') return await continueOn(token, request, reply)
      if (!acceptsEvents(request)) throw new Refusal(406, 'Accept text/event-stream')
      if (method === 'DELETE') throw new DomainError('BAD_INPUT', `Say which by ${TOKEN_HEADER}`)
      const stream = await openStream(request)
      await converse(request, reply, { stream, token: null })
    } catch (error) {
      answerError(error, request, reply)
    }
  }

  const handler = withCors(allowedOrigins, serve)
  return {
    routes: {
      'GET /graphql/stream': handler,
      'POST /graphql/stream': handler,
      'PUT /graphql/stream': handler,
      'DELETE /graphql/stream': handler,
      'OPTIONS /graphql/stream': withCors(allowedOrigins, createPreflight(forwardedHeaders)),
    },
    close() {
      for (const it of [...streams]) it.close('UNAVAILABLE')
    },
  }

  /** A stream without its connection, which is to come soon. */
  async function reserve(request: HttpRequest, reply: HttpReply): Promise<void> {
    const token = randomBytes(24).toString('base64url')
    const stream = await openStream(request, token)
    byToken.set(token, stream)
    setTimeout(() => {
      if (!stream.isConnected) stream.close('TIMEOUT')
    }, limits.initMs).unref()
    await converse(request, reply, { stream, token })
  }

  /** The library lets go of a stream when its connection ends, and of none that had no connection. */
  async function forget(token: string): Promise<void> {
    const headers = new Map([['accept', 'text/event-stream']])
    const unused = {} as Exchange['stream'] & HttpRequest
    const context = { stream: unused, token }
    const [body] = await speak({
      method: 'GET',
      url: '',
      headers,
      body: null,
      raw: unused,
      context,
    })
    if (body && typeof body !== 'string') await body.return()
  }

  /** A request that belongs to a stream: its connection, or an operation over it. */
  async function continueOn(token: string, request: HttpRequest, reply: HttpReply): Promise<void> {
    const stream = byToken.get(token)
    const standing = await standings.open(presentedOver(request), request.log)
    try {
      // To whom it does not belong, it does not exist.
      const actor = await standing.actor()
      const credentials = credentialsFor(request.headers)(actor)
      if (!stream || stream.isClosed || !(await stream.isOf(actor, credentials))) {
        throw new DomainError('NOT_FOUND', 'This event stream has ended: reserve another')
      }
    } finally {
      standing.close()
    }
    if (request.method === 'GET' && !acceptsEvents(request)) {
      throw new Refusal(406, 'Operations over a reserved stream are sent by POST')
    }
    await converse(request, reply, { stream, token })
  }

  async function openStream(request: HttpRequest, token: string | null = null) {
    const { clientIp } = request
    const place = connections.enter(clientIp, 'sse')
    let standing: Standing | undefined
    try {
      standing = await standings.open(presentedOver(request), request.log)
      const actor = await standing.actor()
      place.take(actor)
      const credentialsOf = credentialsFor(request.headers)
      const stream: EventStream = new EventStream({
        caller: { standing, clientIp, credentialsOf },
        actor,
        place,
        queueLimits: limits.queue,
        count: openOperations,
        log: request.log,
        onClosed(reason) {
          streams.delete(stream)
          open.dec()
          closes.inc({ reason })
          if (token === null) return
          byToken.delete(token)
          if (!stream.isConnected)
            forget(token).catch((err: unknown) => log.error({ err }, 'stream'))
        },
      })
      streams.add(stream)
      open.inc()
      return stream
    } catch (error) {
      standing?.close()
      place.leave()
      throw error
    }
  }

  /** One request and its answer, in the protocol. */
  async function converse(
    request: HttpRequest,
    reply: HttpReply,
    exchange: Exchange,
  ): Promise<void> {
    const { stream, token } = exchange
    const answered = speak({
      method: request.method,
      url: request.raw.url ?? '',
      headers: { get: (name) => headerOf(request, name) },
      body: async () => (await request.body()).toString('utf8'),
      raw: request,
      context: exchange,
    })
    const [body, { status, headers = {} }] = await answered
      .catch((error: unknown) => {
        if (token === null) stream.close('closed')
        throw error
      })
      .finally(() => settle(exchange))
    if (body && typeof body !== 'string') {
      reply.raw.writeHead(status, { ...headers, 'x-accel-buffering': 'no' })
      return stream.connect(reply.raw, body)
    }
    // The connection was to carry one operation, and there is none.
    if (token === null) stream.close('closed')
    if (status >= 400) throw new Refusal(status, messageOf(body))
    reply.send(status, body ?? '', headers)
  }

  function answerError(error: unknown, request: HttpRequest, reply: HttpReply): void {
    if (reply.raw.headersSent) {
      reply.raw.destroy()
      if (!(error instanceof DomainError)) request.log.error({ err: error }, 'event stream')
      return
    }
    const status = error instanceof Refusal ? error.status : undefined
    const errors = operations.shown([error instanceof Refusal ? error.cause : error], request)
    const { code, retryAfterSeconds } = errors[0]?.extensions ?? {}
    const { http } = ERROR_CODES[isErrorCode(code) ? code : 'INTERNAL']
    const headers: Record<string, string> =
      typeof retryAfterSeconds === 'number' ? { 'retry-after': String(retryAfterSeconds) } : {}
    if (!request.raw.complete) request.raw.resume()
    reply.json(status ?? http, { errors }, headers)
  }
}

function acceptsEvents({ headers: { accept = '' } }: HttpRequest): boolean {
  return accept.includes('text/event-stream')
}

/** The library knows no list of types, and no token but what it is told. */
function headerOf(request: HttpRequest, name: string): string | undefined {
  if (name === 'accept' && acceptsEvents(request)) return 'text/event-stream'
  if (name === 'accept') return '*/*'
  const value = request.headers[name]
  return Array.isArray(value) ? value.join('\n') : value
}

function presentedOver(request: HttpRequest) {
  return presentedBy(request.headers, request.clientIp, 'http')
}
