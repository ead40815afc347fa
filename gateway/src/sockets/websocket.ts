import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Actor } from '@berth/platform/actor'
import { systemClock } from '@berth/platform/clock'
import { DomainError, ERROR_CODES } from '@berth/platform/errors'
import type { HttpServer } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { CloseCode, handleProtocols } from 'graphql-ws'
import { type RawData, type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import { presentedBy } from '../authentication/presented.ts'
import type { Credentials } from '../federation/credentials.ts'
import { type Carrier, ClientQueue, QUEUE_LIMITS, type QueueLimits } from './client-queue.ts'
import type { Connections, Place } from './connections.ts'
import { MESSAGE_RATE, MessageMeter, type MessageRate } from './message-rate.ts'
import { refuse } from './refuse.ts'
import type { SessionServer } from './session.ts'
import { createSweep, type Swept } from './sweep.ts'

export type SocketLimits = {
  readonly queue: QueueLimits
  readonly messages: MessageRate
  readonly messageBytes: number
  /** Between two pings; who has not answered the one before is gone. */
  readonly pingMs: number
  /** For the closing handshake, with a client that may not read at all. */
  readonly closeMs: number
}

export const SOCKET_LIMITS: SocketLimits = Object.freeze({
  queue: QUEUE_LIMITS,
  messages: MESSAGE_RATE,
  messageBytes: 1024 * 1024,
  pingMs: 12_000,
  closeMs: 5_000,
})

const PATH = '/graphql'
/** RFC 6455, section 4.4: what a client that speaks another one is told. */
const VERSION = Object.freeze({ 'sec-websocket-version': '13' })
const SERVICE_RESTART = 1012

/**
 * Carries sessions over WebSocket, on the gateway's own HTTP server.
 *
 * @param allowedOrigins pages that may connect; a client that sends no Origin is no page
 * @param credentialsFor what subgraphs are told of whoever asks over a connection that was opened
 * with these headers
 * @returns what takes no more connections and tells every client to connect elsewhere
 */
export function serveWebSockets({
  http: { server, clientAddress },
  sessions,
  connections,
  credentialsFor,
  allowedOrigins,
  limits,
  log,
  metrics,
}: {
  http: Pick<HttpServer, 'server' | 'clientAddress'>
  sessions: SessionServer
  connections: Connections
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  allowedOrigins: readonly string[]
  limits: SocketLimits
  log: Log
  metrics: Metrics
}): () => Promise<void> {
  const open = metrics.gauge('berth_client_sockets', 'WebSockets of clients')
  const closes = metrics.counter('berth_client_sockets_closed_total', 'By close code', ['code'])
  const sweep = createSweep(limits.pingMs)
  // ws knows `closeTimeout` since 8.19; its types do not.
  const options: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    maxPayload: limits.messageBytes,
    perMessageDeflate: false,
    closeTimeout: limits.closeMs,
    handleProtocols,
  }
  const sockets = new WebSocketServer(options)
  // The server of WebSockets would answer by itself, in HTML.
  sockets.on('wsClientError', ({ message }, socket) =>
    refuse(
      socket,
      new DomainError('BAD_INPUT', `No WebSocket handshake: ${message}`),
      log,
      VERSION,
    ),
  )
  let isDraining = false

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    let place: Place
    try {
      check(request)
      place = connections.enter(clientAddress(request), 'websocket')
    } catch (error) {
      refuse(socket, error, log)
      return
    }
    // However it ends, also while it is being upgraded.
    socket.once('close', place.leave)
    sockets.handleUpgrade(request, socket, head, (it) => carry(it, socket, request, place))
  })

  return async () => {
    isDraining = true
    for (const socket of sockets.clients) closeOnce(socket, SERVICE_RESTART, 'Connect again')
    await new Promise<void>((resolve) => sockets.close(() => resolve()))
    sweep.close()
  }

  function check({ url = '', headers: { origin } }: IncomingMessage): void {
    if (URL.parse(url, 'http://localhost')?.pathname !== PATH) {
      throw new DomainError('NOT_FOUND', 'There is nothing at this address')
    }
    if (isDraining) throw new DomainError('UNAVAILABLE', 'This instance is stopping: connect again')
    if (origin !== undefined && !allowedOrigins.includes(origin)) {
      throw new DomainError('FORBIDDEN', 'Pages of this origin may not connect')
    }
  }

  function carry(socket: WebSocket, duplex: Duplex, request: IncomingMessage, place: Place): void {
    open.inc()
    let closed: ((code: number, reason: string) => Promise<void>) | undefined
    let isOver = false
    // What it asked for costs nothing any more, though its client may be slow to close, too.
    const over = (code: number, reason: string) => {
      queue.close()
      if (isOver || !closed) return
      isOver = true
      closed(code, reason).catch((err: unknown) => log.error({ err }, 'session close'))
    }
    const close = (code: number, reason: string) => {
      closeOnce(socket, code, reason)
      over(code, reason)
    }
    const end = (error: DomainError) => {
      if (socket.readyState !== socket.OPEN) return
      log.info({ code: error.code, reason: error.message }, 'ending a connection')
      close(ERROR_CODES[error.code].close, `${error.code}: ${error.message}`)
    }
    const client = new SocketClient(socket, duplex, end, limits, log)
    const { queue } = client
    closed = sessions.opened(
      {
        protocol: socket.protocol,
        send: (text) => queue.send(text),
        close: (code = CloseCode.InternalServerError, reason = '') => close(code, reason),
        onMessage: (take) => client.onMessage(take),
        onPing: (payload) => client.answerPing(payload),
      },
      {
        ...presentedBy(request.headers, clientAddress(request), 'websocket'),
        queue,
        place,
        credentialsOf: credentialsFor(request.headers),
        close: end,
      },
    )
    const stopSweep = sweep.add(client)
    socket.once('close', (code, reason) => {
      stopSweep()
      open.dec()
      closes.inc({ code: knownCode(code) })
      over(code, String(reason))
    })
  }
}

/** One WebSocket: what it carries out, what comes in, and whether anyone is there. */
class SocketClient implements Carrier, Swept {
  readonly queue: ClientQueue
  readonly #socket: WebSocket
  readonly #duplex: Duplex
  readonly #end: (error: DomainError) => void
  readonly #meter: MessageMeter
  readonly #log: Log
  #isAlive = true
  #isEnded = false

  constructor(
    socket: WebSocket,
    duplex: Duplex,
    end: (error: DomainError) => void,
    limits: SocketLimits,
    log: Log,
  ) {
    this.queue = new ClientQueue(this, limits.queue)
    this.#socket = socket
    this.#duplex = duplex
    this.#end = end
    this.#meter = new MessageMeter(limits.messages, systemClock)
    this.#log = log
    duplex.on('drain', () => this.queue.flush())
    socket.on('error', (err) => this.#log.debug({ err }, 'client socket error'))
    socket.on('ping', () => void this.#isWithinRate())
    socket.on('pong', () => {
      if (this.#isWithinRate()) this.#isAlive = true
    })
  }

  /** From 64 KiB on, Node's mark for a socket; below it nothing would tell when it has gone. */
  get isFull(): boolean {
    return this.#duplex.writableNeedDrain
  }

  write(text: string): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(text)
  }

  overflow(): void {
    this.#end(new DomainError('SLOW_CLIENT', 'Too much waits to be read: read faster, then resume'))
  }

  sweep(): void {
    if (this.#isAlive) {
      this.#isAlive = false
      if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping()
    } else {
      this.#socket.terminate()
    }
  }

  onMessage(take: (text: string) => Promise<void>): void {
    this.#socket.on('message', (data: RawData, isBinary) => {
      if (this.#isEnded || this.#socket.readyState !== this.#socket.OPEN) return
      if (!this.#isWithinRate()) return
      this.#isAlive = true
      if (isBinary) return this.#end(new DomainError('BAD_INPUT', 'Messages are text frames'))
      take(String(data)).catch((error: unknown) => this.#end(endingOf(error, this.#log)))
    })
  }

  answerPing(payload: Record<string, unknown> | undefined): void {
    let text: string
    try {
      text = JSON.stringify(payload ? { type: 'pong', payload } : { type: 'pong' })
    } catch {
      // The stack is all that it can fail for: what was sent was JSON.
      this.#end(new DomainError('BAD_INPUT', 'The payload is nested too deeply'))
      return
    }
    this.queue.send(text)
  }

  #isWithinRate(): boolean {
    if (this.#isEnded) return false
    if (this.#meter.take()) return true
    this.#isEnded = true
    this.#end(new DomainError('RATE_LIMITED', 'Too many messages: send fewer, and connect again'))
    return false
  }
}

/** Once is enough; a client that does not read is cut off in the end. */
function closeOnce(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState === socket.OPEN) socket.close(code, shortened(reason))
}

const MAX_REASON_BYTES = 123

/** RFC 6455, section 5.5: a control frame has 125 bytes, two of which are the code. */
function shortened(reason: string): string {
  if (Buffer.byteLength(reason) <= MAX_REASON_BYTES) return reason
  const bytes = Buffer.from(reason).subarray(0, MAX_REASON_BYTES)
  return new TextDecoder().decode(bytes, { stream: true })
}

/** graphql-ws throws a plain error for a message that only a server sends. */
const UNEXPECTED = /^Unexpected message of type /

function endingOf(error: unknown, log: Log): DomainError {
  if (error instanceof DomainError) return error
  if (error instanceof Error && UNEXPECTED.test(error.message)) {
    return new DomainError('BAD_INPUT', 'A client sends no message of this type')
  }
  log.error({ err: error }, 'a session failed')
  return new DomainError('INTERNAL', 'The session failed', { cause: error })
}

const CLOSE_CODES = new Set<number>([
  ...[1000, 1001, 1002, 1005, 1006, 1007, 1009, SERVICE_RESTART],
  ...Object.values(CloseCode).filter((it) => typeof it === 'number'),
  ...Object.values(ERROR_CODES).map((it) => it.close),
])

/** A client may close with any code of thousands: those are one. */
function knownCode(code: number): string {
  return CLOSE_CODES.has(code) ? String(code) : 'other'
}
