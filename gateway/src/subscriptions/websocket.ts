import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { DomainError, ERROR_CODES, type ErrorCode } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { handleProtocols } from 'graphql-ws'
import { type WebSocket, WebSocketServer } from 'ws'
import type { SessionServer } from './session.ts'

const PATH = '/graphql'
const MAX_MESSAGE_BYTES = 1024 * 1024
/** What may wait in a socket beside the events that its streams hold back. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024
const PING_MS = 12_000
/** For the closing handshake, with a client that may not read at all. */
const CLOSE_MS = 5_000
const SERVICE_RESTART = 1012

/**
 * Carries sessions over WebSocket, on the gateway's own HTTP server.
 *
 * @param allowedOrigins pages that may connect; a client that sends no Origin is no page
 * @returns what takes no more connections and tells every client to connect elsewhere
 */
export function serveWebSockets({
  server,
  sessions,
  allowedOrigins,
  log,
  metrics,
}: {
  server: Server
  sessions: SessionServer
  allowedOrigins: readonly string[]
  log: Log
  metrics: Metrics
}): () => Promise<void> {
  const open = metrics.gauge('berth_client_sockets', 'WebSockets of clients')
  const closes = metrics.counter('berth_client_sockets_closed_total', 'By close code', ['code'])
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    handleProtocols,
  })
  let isDraining = false

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const { pathname } = URL.parse(request.url ?? '', 'http://localhost') ?? {}
    const { origin } = request.headers
    if (pathname !== PATH) refuse(socket, 'NOT_FOUND')
    else if (isDraining) refuse(socket, 'UNAVAILABLE')
    else if (origin !== undefined && !allowedOrigins.includes(origin)) refuse(socket, 'FORBIDDEN')
    else sockets.handleUpgrade(request, socket, head, (it) => carry(it, request))
  })

  return async () => {
    isDraining = true
    for (const socket of sockets.clients) closeSoon(socket, SERVICE_RESTART, 'Connect again')
    await new Promise<void>((resolve) => sockets.close(() => resolve()))
  }

  function carry(socket: WebSocket, request: IncomingMessage): void {
    open.inc()
    const stopPings = keepAlive(socket)
    const end = ({ code, message }: DomainError) => {
      log.info({ code, reason: message }, 'ending a connection')
      closeSoon(socket, ERROR_CODES[code].close, code)
    }
    const { authorization, 'berth-organization': organizationId } = request.headers
    const closed = sessions.opened(
      {
        protocol: socket.protocol,
        send: (data) => send(socket, data, end),
        close: (code, reason) => closeSoon(socket, code, reason),
        onMessage: (onMessage) => {
          socket.on('message', (data) => {
            if (socket.readyState !== socket.OPEN) return
            onMessage(String(data)).catch((error: unknown) => end(endingOf(error, log)))
          })
        },
      },
      {
        clientIp: request.socket.remoteAddress ?? 'unknown',
        authorization,
        organizationId: Array.isArray(organizationId) ? undefined : organizationId,
        close: end,
      },
    )
    socket.on('error', (err) => log.debug({ err }, 'client socket error'))
    socket.once('close', (code, reason) => {
      open.dec()
      closes.inc({ code: String(code) })
      stopPings()
      closed(code, String(reason)).catch((err: unknown) => log.error({ err }, 'session close'))
    })
  }
}

/** Resolves when the kernel has it: that is what holds back the stream it came from. */
function send(socket: WebSocket, data: string, end: (error: DomainError) => void): Promise<void> {
  return new Promise((resolve) => {
    if (socket.readyState !== socket.OPEN) return resolve()
    if (socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      end(new DomainError('SLOW_CLIENT', 'The client does not read'))
      return resolve()
    }
    socket.send(data, () => resolve())
  })
}

/** Nothing further is read from a socket that is being closed; it is cut off if it does not end. */
function closeSoon(socket: WebSocket, code?: number, reason?: string): void {
  if (socket.readyState !== socket.OPEN) return
  socket.close(code, reason)
  const timer = setTimeout(() => socket.terminate(), CLOSE_MS)
  socket.once('close', () => clearTimeout(timer))
}

function keepAlive(socket: WebSocket): () => void {
  let isAlive = true
  socket.on('pong', () => {
    isAlive = true
  })
  const timer = setInterval(() => {
    if (!isAlive) return socket.terminate()
    isAlive = false
    socket.ping()
  }, PING_MS)
  return () => clearInterval(timer)
}

function endingOf(error: unknown, log: Log): DomainError {
  if (error instanceof DomainError) return error
  log.error({ err: error }, 'a session failed')
  return new DomainError('INTERNAL', 'The session failed', { cause: error })
}

function refuse(socket: Duplex, code: ErrorCode): void {
  // The HTTP server has let go of it: a reset would otherwise end the process.
  socket.on('error', () => socket.destroy())
  const head = `HTTP/1.1 ${ERROR_CODES[code].http} ${code}`
  socket.end(`${head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
