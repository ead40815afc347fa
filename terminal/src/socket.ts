import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { DomainError, toHttp } from '@berth/platform/errors'
import type { HttpServer } from '@berth/platform/http'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Connection, createConnection } from './connection.ts'
import { FRAME_BYTES_MAX, SUBPROTOCOL, TOKEN_SUBPROTOCOL } from './protocol.ts'
import type { Link } from './session.ts'
import type { Client, Terminals } from './terminals.ts'

const PATH = '/terminal'
const KEEPALIVE_MS = 20_000
const GOING_AWAY = 1_001
const CLOSE_MS = 2_000

export type TerminalSocket = {
  /** Admits no more connections. */
  stop(): void
  /** Closes what is still connected; cuts off whoever does not close in turn. */
  close(): Promise<void>
}

/**
 * Terminals over WebSockets, on `/terminal` of an HTTP server. Browsers must come from an allowed
 * Origin; the token never stands in the URL, which would be logged on the way.
 */
export function serveTerminals({
  http: { server, clientAddress },
  terminals,
  allowedOrigins,
  maxSockets,
  log,
}: {
  http: Pick<HttpServer, 'server' | 'clientAddress'>
  terminals: Terminals
  allowedOrigins: readonly string[]
  maxSockets: number
  log: Log
}): TerminalSocket {
  const origins = new Set(allowedOrigins)
  let isStopping = false
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: FRAME_BYTES_MAX,
    // A compressor holds hundreds of kilobytes per connection, and mixes secrets with what is typed.
    perMessageDeflate: false,
    handleProtocols: () => SUBPROTOCOL,
  })

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    const requestId = newUuid()
    try {
      const { client, offeredToken } = admit(request, requestId)
      sockets.handleUpgrade(request, socket, head, (ws) => {
        serve(ws, client, offeredToken, log.child({ requestId }))
      })
    } catch (error) {
      refuse(socket, error, requestId)
    }
  }

  function admit(request: IncomingMessage, requestId: string) {
    const [path, query] = (request.url ?? '').split('?')
    if (path !== PATH) throw new DomainError('NOT_FOUND', `Terminals are at ${PATH}.`)
    if (query !== undefined) {
      throw new DomainError('BAD_INPUT', 'This address takes no query: tokens do not belong in it.')
    }
    const { origin } = request.headers
    if (origin !== undefined && !origins.has(origin)) {
      throw new DomainError('FORBIDDEN', 'Pages of this origin may not open terminals.')
    }
    const offered = (request.headers['sec-websocket-protocol'] ?? '')
      .split(',')
      .map((it) => it.trim())
    if (!offered.includes(SUBPROTOCOL)) {
      throw new DomainError('BAD_INPUT', `Offer the subprotocol ${SUBPROTOCOL}.`)
    }
    if (isStopping || sockets.clients.size >= maxSockets) {
      throw new DomainError('UNAVAILABLE', 'This terminal server is full or stopping.', {
        retryAfterSeconds: 1,
      })
    }
    const token = offered.find((it) => it.startsWith(TOKEN_SUBPROTOCOL))
    const client: Client = {
      origin: origin ?? null,
      address: clientAddress(request),
      requestId,
    }
    return { client, offeredToken: token?.slice(TOKEN_SUBPROTOCOL.length) ?? null }
  }

  function serve(
    ws: WebSocket,
    client: Client,
    offeredToken: string | null,
    connectionLog: Log,
  ): void {
    ws.binaryType = 'nodebuffer'
    let connection: Connection | null = null
    const link = linkOf(ws, () => connection?.flushed())
    const it = createConnection({ link, client, offeredToken, terminals, log: connectionLog })
    connection = it
    ws.on('message', (data: Buffer, isBinary) => (isBinary ? it.receive(data) : it.receiveText()))
    // 1000 is only received from a client that read everything before our own close.
    ws.on('close', (code) => it.closed(code === 1_000))
    ws.on('error', (err) => connectionLog.info({ err }, 'terminal socket failed'))
    keepAlive(ws)
  }

  server.on('upgrade', upgrade)
  return {
    stop() {
      isStopping = true
    },
    async close() {
      const closed = [...sockets.clients].map((ws) => once(ws, 'close'))
      for (const ws of sockets.clients) ws.close(GOING_AWAY)
      const cutOff = setTimeout(() => {
        for (const ws of sockets.clients) ws.terminate()
      }, CLOSE_MS)
      await Promise.all(closed)
      clearTimeout(cutOff)
    },
  }
}

function linkOf(ws: WebSocket, flushed: () => void): Link {
  return {
    send(frame) {
      if (ws.readyState === ws.OPEN) ws.send(frame, { binary: true }, flushed)
    },
    get bufferedBytes() {
      return ws.bufferedAmount
    },
    close(code, reason) {
      ws.close(code, reason)
    },
  }
}

/** A peer that is gone without a word is found out within two intervals. */
function keepAlive(ws: WebSocket): void {
  let isAlive = true
  ws.on('pong', () => {
    isAlive = true
  })
  const timer = setInterval(() => {
    if (isAlive) ws.ping()
    else ws.terminate()
    isAlive = false
  }, KEEPALIVE_MS)
  ws.on('close', () => clearInterval(timer))
}

function refuse(socket: Duplex, error: unknown, requestId: string): void {
  const { status, headers, body } = toHttp(error, requestId)
  const text = JSON.stringify(body)
  const lines = Object.entries({
    connection: 'close',
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'x-request-id': requestId,
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} Refused\r\n${lines.join('')}\r\n${text}`)
}
