import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { composeServices } from '@apollo/composition'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { type DocumentNode, type GraphQLFormattedError, graphql, parse } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

export type ForeignSubgraph = {
  readonly name: string
  readonly url: string
  readonly typeDefs: DocumentNode
  /** Of every call and every socket. */
  readonly seen: IncomingHttpHeaders[]
  close(): Promise<void>
}

type Resolvers =
  NonNullable<Parameters<typeof buildSubgraphSchema>[0]> extends infer T
    ? T extends readonly { resolvers?: infer R }[]
      ? R
      : never
    : never

/** A subgraph as anyone may have written it: graphql-js behind `/query`, and graphql-ws there too. */
export async function openForeignSubgraph(
  name: string,
  sdl: string,
  resolvers: Record<string, unknown>,
): Promise<ForeignSubgraph> {
  const typeDefs = parse(
    `extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", import: ["@key"])\n${sdl}`,
  )
  const schema = buildSubgraphSchema([{ typeDefs, resolvers: resolvers as Resolvers }])
  const seen: IncomingHttpHeaders[] = []
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    seen.push(request.headers)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { query, variables } = JSON.parse(Buffer.concat(chunks).toString())
    const result = await graphql({
      schema,
      source: query,
      variableValues: variables,
      contextValue: { headers: request.headers },
    })
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(result))
  }
  const server = createServer((request, response) => void answer(request, response))
  const sockets = new WebSocketServer({ server, path: '/query' })
  useServer({ schema, onConnect: ({ extra }) => void seen.push(extra.request.headers) }, sockets)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    name,
    url: `http://127.0.0.1:${port}/query`,
    typeDefs,
    seen,
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
      server.close()
    },
  }
}

export function composed(
  ...subgraphs: readonly Pick<ForeignSubgraph, 'name' | 'url' | 'typeDefs'>[]
): string {
  const { supergraphSdl, errors } = composeServices(
    subgraphs.map(({ name, url, typeDefs }) => ({ name, url, typeDefs })),
  )
  if (!supergraphSdl) throw new AggregateError(errors ?? [], 'not composed')
  return supergraphSdl
}

export type Command = {
  readonly process: ChildProcess
  /** Of what it listens at. */
  readonly url: Promise<string>
  /** Lines of its log that it has written. */
  readonly lines: string[]
  readonly ended: Promise<{ code: number | null; errors: string }>
}

/** The command, as a process of its own. */
export function run(args: readonly string[], env: Record<string, string> = {}): Command {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  const url = Promise.withResolvers<string>()
  url.promise.catch(() => {})
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    const found = /"url":"([^"]+)"/.exec(line)?.[1]
    if (found) url.resolve(found)
  })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += String(chunk)
  })
  const ended = once(child, 'close').then(([code]) => {
    url.reject(new Error(`it ended: ${errors}${lines.join('\n')}`))
    return { code: code as number | null, errors }
  })
  return { process: child, url: url.promise, lines, ended }
}

export type Asked = {
  status: number
  headers: Headers
  body: {
    data?: Record<string, unknown> | null
    errors?: GraphQLFormattedError[]
  }
}

export async function ask(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Asked> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Asked['body'],
  }
}
