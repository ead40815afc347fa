import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { FormattedExecutionResult, GraphQLFormattedError } from 'graphql'
import { type Client, createClient, type SubscribePayload } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { UpstreamCredentials } from '../federation/credentials.ts'

/** What becomes of one upstream subscription: `next` any number of times, then one of the others. */
export type Sink = {
  next(result: FormattedExecutionResult): void
  /** The subgraph refused or ended it with errors. */
  failed(errors: readonly GraphQLFormattedError[]): void
  /** The subgraph ended it. */
  completed(): void
  /** The connection is gone, or could not be made when `wasConnected` is false. */
  lost(cause: unknown, wasConnected: boolean): void
}

/** What the socket itself carries of who asks. */
export type SocketCredentials = Pick<
  UpstreamCredentials,
  'socketKey' | 'socketHeaders' | 'connectionParams'
>

export type Upstreams = {
  /** @returns what ends the subscription, after which the sink hears nothing more */
  subscribe(
    service: string,
    payload: SubscribePayload,
    socket: SocketCredentials,
    sink: Sink,
  ): () => void
  close(): void
}

/**
 * Subscriptions to subgraphs over graphql-ws: one socket to each replica carries all of them, as
 * long as the actor travels with each subscription and not with the socket; otherwise one for each
 * key of what the socket carries. It reconnects nothing by itself: whoever subscribed knows from
 * where to go on, and signs anew.
 *
 * @param addressesOf URLs of a service's replicas: of the endpoint, or without a path of its server
 */
export function createUpstreams({
  addressesOf,
  metrics,
  log,
}: {
  addressesOf: (service: string) => readonly string[]
  metrics: Metrics
  log: Log
}): Upstreams {
  const connections = new Map<string, Connection>()
  const open = metrics.gauge('berth_upstream_subscriptions', 'Subscriptions open at subgraphs', [
    'subgraph',
  ])
  let turn = 0

  return {
    subscribe(service, payload, socket, sink) {
      const replicas = addressesOf(service)
      const address = replicas[turn++ % replicas.length]
      if (!address) throw new TypeError(`no address of service ${service}`)
      open.inc({ subgraph: service })
      return connectionTo(address, socket).subscribe(payload, {
        ...sink,
        ended: () => open.dec({ subgraph: service }),
      })
    },
    close() {
      for (const connection of connections.values()) connection.close()
    },
  }

  function connectionTo(address: string, socket: SocketCredentials): Connection {
    const key = `${address} ${socket.socketKey}`
    const known = connections.get(key)
    if (known) return known
    const connection = connect(endpointOf(address), socket, () => {
      if (connections.get(key) === connection) connections.delete(key)
      log.debug({ address }, 'upstream socket closed')
    })
    connections.set(key, connection)
    return connection
  }
}

function endpointOf(address: string): string {
  const url = new URL(address)
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:'
  if (url.pathname === '/') url.pathname = '/graphql'
  return url.href
}

type Connection = {
  subscribe(payload: SubscribePayload, sink: Sink & { ended(): void }): () => void
  close(): void
}

const IDLE_CLOSE_MS = 5_000
const PING_MS = 10_000
const PONG_MS = 5_000
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024

/** graphql-ws's client for the life of one socket: it would repeat what it once was given to send. */
function connect(
  url: string,
  { socketHeaders, connectionParams }: SocketCredentials,
  onClosed: () => void,
): Connection {
  let isLost = false
  let wasConnected = false
  let pong: NodeJS.Timeout | undefined

  const client: Client = createClient({
    url,
    webSocketImpl: boundedSocket(socketHeaders),
    ...(connectionParams ? { connectionParams } : {}),
    retryAttempts: 0,
    lazy: true,
    lazyCloseTimeout: IDLE_CLOSE_MS,
    connectionAckWaitTimeout: PONG_MS,
    keepAlive: PING_MS,
    on: {
      connected: () => {
        wasConnected = true
      },
      error: lose,
      closed: lose,
      ping: (isReceived) => {
        // A peer that lost its power says nothing: TCP alone would wait for minutes.
        if (!isReceived) pong = setTimeout(() => client.terminate(), PONG_MS)
      },
      pong: (isReceived) => {
        if (isReceived) clearTimeout(pong)
      },
    },
  })
  return {
    subscribe(payload, sink) {
      let isEnded = false
      const stop = client.subscribe(payload, {
        next: (result) => {
          if (!isEnded) sink.next(result as FormattedExecutionResult)
        },
        error: (error) =>
          end(() => {
            if (isErrors(error)) sink.failed(error)
            else sink.lost(error, wasConnected)
          }),
        // Also how the client tells of a loss, once it may not connect again.
        complete: () => end(() => (isLost ? sink.lost(null, wasConnected) : sink.completed())),
      })
      return () => end(stop)

      function end(then: () => void): void {
        if (isEnded) return
        isEnded = true
        sink.ended()
        then()
      }
    },
    close: () => client.terminate(),
  }

  function lose(): void {
    clearTimeout(pong)
    if (isLost) return
    isLost = true
    onClosed()
    // Told before the client itself hears of it, so that it does not connect again.
    void Promise.resolve(client.dispose()).catch(() => undefined)
  }
}

/** The client makes its socket itself, and is given a class to make it of. */
function boundedSocket(headers: Readonly<Record<string, string>>): typeof WebSocket {
  return class extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol, {
        headers,
        maxPayload: MAX_MESSAGE_BYTES,
        handshakeTimeout: 2_000,
        perMessageDeflate: false,
      })
    }
  } as typeof WebSocket
}

function isErrors(error: unknown): error is readonly GraphQLFormattedError[] {
  return Array.isArray(error)
}
