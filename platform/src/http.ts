import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type ClientAddress, peerAddress } from './client-address.ts'
import { DomainError, isExpected, toHttp } from './errors.ts'
import { type ReadinessChecks, readiness } from './health.ts'
import { IncomingRequest } from './http-request.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

export type HttpRequest = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** Who asks, as far as the proxies in between are trusted. */
  readonly clientIp: string
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
  /** @param encoding of a text: UTF-8, unless each of its characters is to be one byte */
  send(
    status: number,
    body: string | Buffer,
    headers?: Record<string, string>,
    encoding?: 'utf8' | 'latin1',
  ): void
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
  /** As of its requests: for whoever upgrades connections. */
  readonly clientAddress: ClientAddress
  /** Takes no further connection, lets requests in flight end, and cuts off what is left then. */
  close(): Promise<void>
}

const DEFAULT_BODY_BYTES = 1024 * 1024
/** Instead of a status: nobody got one. */
const ABORTED = 0

/**
 * An HTTP server with what every service has: `/healthz`, `/readyz`, `/metrics`, request ids, a
 * body limit, errors in the one shape, and a graceful end.
 *
 * @param ready checks by name; `/readyz` is 503 while one rejects, and while draining
 * @param port 0 for any
 * @param clientAddress who asks; the connection's unless said
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
  clientAddress = peerAddress,
}: {
  host: string
  port: number
  log: Log
  metrics: Metrics
  routes: Routes
  ready?: ReadinessChecks
  drainSeconds?: number
  maxBodyBytes?: number
  clientAddress?: ClientAddress
}): Promise<HttpServer> {
  let draining = false
  const inFlight = new Set<{ response: ServerResponse | null }>()
  const sockets = new Set<Socket>()
  const durations = metrics.histogram(
    'berth_http_request_duration_seconds',
    'HTTP requests by route and status',
    ['route', 'status'],
  )
  // Few, because routes are patterns; found by their labels, each would be looked for every time.
  const series = new Map<string, Map<number, ReturnType<typeof durations.labels>>>()
  const routeOf = createRouter({ ...routes, ...probes() })

  const server: Server = createServer(
    {
      requestTimeout: 30_000,
      headersTimeout: 10_000,
      // Clients that offer another protocol (h2c) take it that a server does not know it.
      shouldUpgradeCallback: ({ headers }) =>
        headers.upgrade?.toLowerCase() === 'websocket' && server.listenerCount('upgrade') > 0,
    },
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
  const url = `http://${shownHost}:${address.port}`
  return { port: address.port, url, server, clientAddress, close }

  async function serve(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const request = new IncomingRequest(raw, { log, maxBodyBytes, clientAddress })
    const reply = replyTo(response)
    let route = 'unmatched'
    const entry: { response: ServerResponse | null } = { response }
    inFlight.add(entry)
    response.once('close', () => {
      inFlight.delete(entry)
      // A set that has grown or shrunk leaves a table behind, which would keep for the garbage
      // collector what was in it: whole answers, until they are old.
      entry.response = null
      const status = response.writableFinished ? response.statusCode : ABORTED
      durationOf(route, status).observe((performance.now() - startedAt) / 1000)
      if (draining) server.closeIdleConnections()
    })
    response.setHeader('x-request-id', request.requestId)
    if (draining) response.shouldKeepAlive = false
    try {
      const found = routeOf(request.method, request.path)
      if (!found) throw new DomainError('NOT_FOUND', 'There is nothing at this address')
      route = found.route
      if (draining && !found.isProbe) {
        throw new DomainError('UNAVAILABLE', 'This instance is stopping: repeat the request')
      }
      await found.handler(request, reply)
    } catch (error) {
      if (!isExpected(error)) request.log.error({ err: error, route }, 'request failed')
      fail(raw, response, reply, toHttp(error, request.requestId))
    }
  }

  function durationOf(route: string, status: number) {
    const byStatus = series.get(route) ?? new Map<number, ReturnType<typeof durations.labels>>()
    series.set(route, byStatus)
    let known = byStatus.get(status)
    if (!known) {
      known = durations.labels({ route, status: status === ABORTED ? 'aborted' : String(status) })
      byStatus.set(status, known)
    }
    return known
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
    for (const { response } of inFlight) if (response) response.shouldKeepAlive = false
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

type Found = { readonly route: string; readonly handler: HttpHandler; readonly isProbe: boolean }

function createRouter(routes: Routes) {
  const exact = new Map<string, Found>()
  for (const [route, handler] of Object.entries(routes)) {
    exact.set(route, { route, handler, isProbe: PROBES.has(route) })
  }
  const prefixes = [...exact.values()]
    .filter(({ route }) => route.endsWith('/*'))
    .sort((a, b) => b.route.length - a.route.length)
  return (method: string, path: string): Found | undefined => {
    const wanted = `${method} ${path}`
    return exact.get(wanted) ?? prefixes.find(({ route }) => wanted.startsWith(route.slice(0, -1)))
  }
}

function replyTo(response: ServerResponse): HttpReply {
  function send(
    status: number,
    body: string | Buffer,
    headers: Record<string, string> = {},
    encoding: BufferEncoding = 'utf8',
  ): void {
    response.statusCode = status
    for (const name in headers) response.setHeader(name, headers[name] as string)
    // With nothing written before, this says the length, and sends head and body in one piece.
    response.end(body, encoding)
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
