import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { DomainError, isExpected, toHttp } from './errors.ts'
import { type ReadinessChecks, readiness } from './health.ts'
import { newUuid } from './ids.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { parseTraceparent } from './trace.ts'

export type HttpRequest = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  readonly requestId: string
  readonly traceparent: string | null
  /** Carries the request id. */
  readonly log: Log
  /** The whole body. @throws {DomainError} TOO_LARGE beyond the limit */
  body(): Promise<Buffer>
  readonly raw: IncomingMessage
}

export type HttpReply = {
  json(status: number, value: unknown, headers?: Record<string, string>): void
  send(status: number, body: string | Buffer, headers?: Record<string, string>): void
  /** For what is streamed; the handler resolves when it has ended it. */
  readonly raw: ServerResponse
}

/** Resolves when the reply is made; what it throws becomes an error reply. */
export type HttpHandler = (request: HttpRequest, reply: HttpReply) => Promise<void> | void

/** By `'<METHOD> <path>'`; a path that ends in `/*` serves everything below it. */
export type Routes = Readonly<Record<string, HttpHandler>>

export type HttpServer = {
  readonly port: number
  readonly url: string
  readonly server: Server
  /** Takes no further connection, lets requests in flight end, and cuts off what is left then. */
  close(): Promise<void>
}

const DEFAULT_BODY_BYTES = 1024 * 1024

/**
 * An HTTP server with what every service has: `/healthz`, `/readyz`, `/metrics`, request ids, a
 * body limit, errors in the one shape, and a graceful end.
 *
 * @param ready checks by name; `/readyz` is 503 while one rejects, and while draining
 * @param port 0 for any
 */
export async function startHttp({
  host,
  port,
  log,
  metrics,
  routes,
  ready = {},
  drainSeconds = 10,
  maxBodyBytes = DEFAULT_BODY_BYTES,
}: {
  host: string
  port: number
  log: Log
  metrics: Metrics
  routes: Routes
  ready?: ReadinessChecks
  drainSeconds?: number
  maxBodyBytes?: number
}): Promise<HttpServer> {
  let draining = false
  const inFlight = new Set<ServerResponse>()
  const sockets = new Set<Socket>()
  const durations = metrics.histogram(
    'berth_http_request_duration_seconds',
    'HTTP requests by route and status',
    ['route', 'status'],
  )
  // Few, because routes are patterns; found by their labels, each would be looked for every time.
  const series = new Map<string, ReturnType<typeof durations.labels>>()
  const durationOf = (route: string, status: string) => {
    const key = `${status} ${route}`
    const known = series.get(key) ?? durations.labels({ route, status })
    series.set(key, known)
    return known
  }
  const routeOf = createRouter({ ...routes, ...probes() })

  const server = createServer(
    { requestTimeout: 30_000, headersTimeout: 10_000 },
    (raw, response) => {
      void serve(raw, response)
    },
  )
  server.keepAliveTimeout = 65_000
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(port, host)
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  const shownHost = host.includes(':') ? `[${host}]` : host
  return { port: address.port, url: `http://${shownHost}:${address.port}`, server, close }

  async function serve(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const requestId = requestIdOf(raw)
    const requestLog = log.child({ requestId })
    const reply = replyTo(response)
    let route = 'unmatched'
    inFlight.add(response)
    response.once('close', () => {
      inFlight.delete(response)
      const status = response.writableFinished ? String(response.statusCode) : 'aborted'
      durationOf(route, status).observe((performance.now() - startedAt) / 1000)
      if (draining) server.closeIdleConnections()
    })
    response.setHeader('x-request-id', requestId)
    if (draining) response.shouldKeepAlive = false
    try {
      const target = targetOf(raw)
      const found = routeOf(raw.method ?? 'GET', target.path)
      if (!found) throw new DomainError('NOT_FOUND', 'There is nothing at this address')
      route = found.route
      if (draining && !found.isProbe) {
        throw new DomainError('UNAVAILABLE', 'This instance is stopping: repeat the request')
      }
      await found.handler(
        {
          method: raw.method ?? 'GET',
          path: target.path,
          get query() {
            return target.query()
          },
          headers: raw.headers,
          requestId,
          traceparent: parseTraceparent(raw.headers.traceparent),
          log: requestLog,
          body: bodyOf(raw, maxBodyBytes),
          raw,
        },
        reply,
      )
    } catch (error) {
      if (!isExpected(error)) requestLog.error({ err: error, route }, 'request failed')
      fail(raw, response, reply, toHttp(error, requestId))
    }
  }

  function probes(): Routes {
    return {
      'GET /healthz': (_request, reply) => reply.json(200, { status: 'ok' }),
      'GET /readyz': async (_request, reply) => {
        const result = await readiness(ready, { draining, log })
        reply.json(result.status === 'ready' ? 200 : 503, result)
      },
      'GET /metrics': async (_request, reply) =>
        reply.send(200, await metrics.registry.metrics(), {
          'content-type': metrics.registry.contentType,
        }),
    }
  }

  async function close(): Promise<void> {
    if (draining) return
    draining = true
    for (const response of inFlight) response.shouldKeepAlive = false
    const closed = once(server, 'close')
    server.close()
    server.closeIdleConnections()
    // Upgraded sockets count as connections: whoever upgraded them ends them, or the deadline does.
    const deadline = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, drainSeconds * 1000)
    await closed
    clearTimeout(deadline)
  }
}

const PROBES = new Set(['GET /healthz', 'GET /readyz', 'GET /metrics'])

function createRouter(routes: Routes) {
  const prefixes = Object.keys(routes)
    .filter((route) => route.endsWith('/*'))
    .sort((a, b) => b.length - a.length)
  return (method: string, path: string) => {
    const exact = `${method} ${path}`
    const route = Object.hasOwn(routes, exact)
      ? exact
      : prefixes.find((prefix) => exact.startsWith(prefix.slice(0, -1)))
    const handler = route === undefined ? undefined : routes[route]
    return route && handler ? { route, handler, isProbe: PROBES.has(route) } : null
  }
}

/** A caller's id is kept only when it cannot break a log or a header. */
function requestIdOf(raw: IncomingMessage): string {
  const given = raw.headers['x-request-id']
  return typeof given === 'string' && /^[\w.-]{8,128}$/.test(given) ? given : newUuid()
}

/** What `URL` would leave as it is. */
const PLAIN_PATH = /^(?:\/[\w-]+)+$/

function targetOf(raw: IncomingMessage): { path: string; query(): URLSearchParams } {
  const url = raw.url ?? '/'
  if (PLAIN_PATH.test(url)) return { path: url, query: () => new URLSearchParams() }
  const { pathname, searchParams } = URL.parse(url, 'http://localhost') ?? {}
  if (!pathname || !searchParams) throw new DomainError('BAD_INPUT', 'The address is malformed')
  return { path: pathname, query: () => searchParams }
}

function bodyOf(raw: IncomingMessage, maxBytes: number): () => Promise<Buffer> {
  let reading: Promise<Buffer> | undefined
  return () => {
    reading ??= read()
    return reading
  }

  async function read(): Promise<Buffer> {
    // Not made beforehand: an error takes its stack with it.
    const tooLarge = () => new DomainError('TOO_LARGE', `The body exceeds ${maxBytes} bytes`)
    if (Number(raw.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of raw.iterator({ destroyOnReturn: false })) {
      bytes += (chunk as Buffer).length
      if (bytes > maxBytes) throw tooLarge()
      chunks.push(chunk as Buffer)
    }
    const [only] = chunks
    return only && chunks.length === 1 ? only : Buffer.concat(chunks)
  }
}

function replyTo(response: ServerResponse): HttpReply {
  function send(status: number, body: string | Buffer, headers: Record<string, string> = {}): void {
    response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers }).end(body)
  }
  return {
    send,
    json: (status, value, headers) =>
      send(status, JSON.stringify(value), {
        'content-type': 'application/json; charset=utf-8',
        ...headers,
      }),
    raw: response,
  }
}

function fail(
  raw: IncomingMessage,
  response: ServerResponse,
  reply: HttpReply,
  { status, headers, body }: ReturnType<typeof toHttp>,
): void {
  if (response.headersSent || response.destroyed) {
    // Half a reply is out: only a broken connection tells the client so.
    response.destroy()
    return
  }
  // Closing while the client still sends would reset the connection, and take this reply with it.
  // What it sends is thrown away, for as long as the request timeout lets it.
  if (!raw.complete) raw.resume()
  reply.json(status, body, headers)
}
