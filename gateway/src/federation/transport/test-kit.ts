import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { anonymous } from '@berth/platform/actor'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import type { GatewayContext } from '../../context.ts'
import type { Take } from '../answers.ts'
import type { Credentials } from '../credentials.ts'
import type { SubgraphLimits } from './limits.ts'
import { createSubgraphClient, type SubgraphClient } from './subgraph-client.ts'

/** Answers one request, whose body was read. */
export type Behaviour = (body: string, response: ServerResponse, request: IncomingMessage) => void

export type TestServer = AsyncDisposable & {
  readonly url: string
  /** Bodies in the order in which they came. */
  readonly received: string[]
  behave: Behaviour
  /** All its connections are reset, and nobody listens any more. */
  stop(): Promise<void>
  /** On the port of before. */
  start(): Promise<void>
}

export const READ = '{"query":"{ a }"}'
export const WRITE = '{"query":"mutation { a }"}'
export const OK: Behaviour = (_body, response) => void response.end('{"data":{"a":1}}')

/** A real HTTP server that behaves as it is told. */
export async function testServer(behave: Behaviour = OK): Promise<TestServer> {
  let port = 0
  let stop = async (): Promise<void> => undefined
  const server: TestServer = {
    get url() {
      return `http://127.0.0.1:${port}`
    },
    received: [],
    behave,
    stop: () => stop(),
    async start() {
      const sockets = new Set<Socket>()
      const http = createServer((request, response) => {
        const chunks: Buffer[] = []
        request.on('error', () => undefined)
        request.on('data', (chunk: Buffer) => chunks.push(chunk))
        request.on('end', () => {
          const body = Buffer.concat(chunks).toString()
          server.received.push(body)
          server.behave(body, response, request)
        })
      })
      http.on('connection', (socket) => {
        sockets.add(socket)
        socket.on('error', () => undefined)
        socket.once('close', () => sockets.delete(socket))
      })
      http.listen(port, '127.0.0.1')
      await once(http, 'listening')
      port = (http.address() as AddressInfo).port
      stop = async () => {
        stop = async () => undefined
        const closed = once(http, 'close')
        http.close()
        for (const socket of sockets) socket.resetAndDestroy()
        await closed
      }
    },
    [Symbol.asyncDispose]: () => stop(),
  }
  await server.start()
  return server
}

export type TestClient = AsyncDisposable & {
  readonly metrics: ReturnType<typeof createMetrics>
  readonly logged: string[]
  read(body?: string, take?: Take): ReturnType<SubgraphClient['ask']>
  write(body?: string): ReturnType<SubgraphClient['ask']>
}

export function testClient(
  urls: readonly string[],
  limits: Partial<SubgraphLimits> = {},
  {
    connections = 64,
    headers = () => ({}),
  }: { connections?: number; headers?: Credentials['headers'] } = {},
): TestClient {
  const logged: string[] = []
  const destination = { write: (line: string) => void logged.push(line) }
  const log = createLog({ service: 'gateway', instance: 'gateway-1', destination })
  const metrics = createMetrics({ service: 'gateway' })
  const peers = createPeers({ things: urls }, { connections })
  const client = createSubgraphClient({ service: 'things', peers, metrics, limits, log })
  const context: GatewayContext = {
    actor: anonymous,
    credentials: { headers } as Credentials,
    clientIp: '127.0.0.1',
    requestId: 'request-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    idempotencyKey: '"key-1"',
    log,
  }
  return {
    metrics,
    logged,
    read: (body = READ, take) => client.ask(body, false, context, take),
    write: (body = WRITE) => client.ask(body, true, context),
    [Symbol.asyncDispose]: () => peers.close(),
  }
}

/** No breaker: for what it would end too soon. */
export const UNBROKEN: Partial<SubgraphLimits> = { breakerMinimumRps: 1_000_000 }
