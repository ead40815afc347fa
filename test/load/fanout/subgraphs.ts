import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import { createTokens, type Tokens } from '../tokens.ts'
import { changeOf, detailsOf } from './graph.ts'

export type Subgraphs = AsyncDisposable & {
  /** Where the issuer's keys are, and tokens of that issuer. */
  readonly keysUrl: string
  readonly tokens: Tokens
  readonly eventsUrl: string
  readonly detailsUrl: string
  /** Entity fetches that the second subgraph was asked so far. */
  readonly hydrations: number
  /** Subscriptions that are open at the owner. */
  readonly upstreams: number
  /** Sends an event to every subscription. */
  emit(number: number, note: string): void
}

type Message = { type: string; id: string; payload?: { query?: string } }

/** The event's owner, over `graphql-transport-ws`, and the subgraph that events are hydrated from. */
export async function startSubgraphs(): Promise<Subgraphs> {
  const keys = createServer((_request, response) => answer(response, tokens.jwks))
  const keysUrl = await listen(keys)
  const tokens = await createTokens(keysUrl)
  let hydrations = 0
  const upstreams = new Map<string, { socket: WebSocket; id: string }>()
  const events = createServer((_request, response) => answer(response, '{"data":{"events":1}}'))
  const details = createServer(hydrate)
  const sockets = new WebSocketServer({
    server: events,
    handleProtocols: () => 'graphql-transport-ws',
    perMessageDeflate: false,
  })
  let connections = 0
  sockets.on('connection', (socket) => {
    const connection = connections++
    const key = (id: string) => `${connection} ${id}`
    socket.on('message', (data) => {
      const { type, id } = JSON.parse(String(data)) as Message
      if (type === 'connection_init') socket.send('{"type":"connection_ack"}')
      else if (type === 'ping') socket.send('{"type":"pong"}')
      else if (type === 'subscribe') upstreams.set(key(id), { socket, id })
      else if (type === 'complete') upstreams.delete(key(id))
    })
    socket.on('close', () => {
      for (const [name, it] of upstreams) if (it.socket === socket) upstreams.delete(name)
    })
  })
  return {
    keysUrl,
    tokens,
    eventsUrl: await listen(events),
    detailsUrl: await listen(details),
    get hydrations() {
      return hydrations
    },
    get upstreams() {
      return upstreams.size
    },
    emit(number, note) {
      const change = changeOf(number, note)
      const allocation = { __typename: 'Allocation', ...change.allocation }
      const changed = { __typename: 'Change', ...change, allocation }
      const payload = JSON.stringify({ data: { changed } })
      for (const { socket, id } of upstreams.values()) {
        socket.send(`{"id":${JSON.stringify(id)},"type":"next","payload":${payload}}`)
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate()
      for (const server of [events, details, keys]) {
        server.closeAllConnections()
        await new Promise((closed) => server.close(closed))
      }
    },
  }

  function hydrate(request: IncomingMessage, response: ServerResponse): void {
    hydrations++
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      const { variables } = JSON.parse(body) as { variables: { representations: { id: string }[] } }
      const entities = variables.representations.map(({ id }) => ({
        __typename: 'Allocation',
        id,
        ...detailsOf(id),
      }))
      answer(response, JSON.stringify({ data: { _entities: entities } }))
    })
  }
}

function answer(response: ServerResponse, text: string): void {
  response.writeHead(200, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

async function listen(server: Server): Promise<string> {
  server.keepAliveTimeout = 120_000
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `http://127.0.0.1:${address.port}/graphql`
}
