import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { anonymous } from '@berth/platform/actor'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { expect, test, vi } from 'vitest'
import type { GatewayContext } from '../context.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { Graph } from '../federation/graph.ts'
import { createSubgraphs } from './subgraphs.ts'

const log = createLog({ service: 'gateway', instance: 'gateway-1', destination: { write() {} } })
const context: GatewayContext = {
  actor: anonymous,
  credentials: { headers: () => ({}) } as Partial<Credentials> as Credentials,
  clientIp: '127.0.0.1',
  requestId: 'request-1',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  idempotencyKey: null,
  log,
}
const QUERY = '{"query":"{ a }"}'

test.each([false, true])(
  'an address that is no longer served is left once its calls are answered (masked: %s)',
  async (maskErrors) => {
    await using one = await held()
    await using two = await held()
    const metrics = createMetrics({ service: 'gateway' })
    const options = { subgraphs: {}, subscriptionUrls: {}, maskErrors }
    const { clientsOf, serve, close } = createSubgraphs(options, { log, metrics })
    await using _all = { [Symbol.asyncDispose]: close }
    const at = (url: string) => ({ subgraphs: ['books'], urls: { books: url } }) as unknown as Graph
    const ask = (of: ReturnType<typeof clientsOf>) => of.books?.ask(QUERY, false, context)

    const first = clientsOf(at(one.url))
    serve(at(one.url))
    const running = ask(first)
    await vi.waitFor(() => expect(one.waiting).toHaveLength(1))
    const second = clientsOf(at(two.url))
    // Not served yet, and perhaps never: nothing changes by it.
    expect(clientsOf(at(one.url)).books).toBe(first.books)
    serve(at(two.url))
    one.answer()
    await expect(running).resolves.toEqual({ data: { a: 1 } })
    await vi.waitFor(async () => expect(await one.connections()).toBe(0), 3_000)

    // What was planned before goes on where it began, and leaves nothing behind either.
    const late = ask(first)
    await vi.waitFor(() => expect(one.waiting).toHaveLength(1))
    one.answer()
    await expect(late).resolves.toEqual({ data: { a: 1 } })
    await vi.waitFor(async () => expect(await one.connections()).toBe(0), 3_000)

    const current = ask(second)
    await vi.waitFor(() => expect(two.waiting).toHaveLength(1))
    two.answer()
    await expect(current).resolves.toEqual({ data: { a: 1 } })
    expect(await two.connections()).toBe(1)
  },
)

/** A server that answers when it is told to. */
async function held() {
  const waiting: ServerResponse[] = []
  const server = createServer((request, response) => {
    request.resume()
    waiting.push(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/graphql`,
    waiting,
    answer: () => void waiting.shift()?.end('{"data":{"a":1}}'),
    connections: () =>
      new Promise<number>((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      ),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}
