import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buildSchema } from 'graphql'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { DomainError } from './errors.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { serveSubscriptions } from './subscriptions.ts'

const scope: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const dispose of scope.splice(0).reverse()) await dispose()
})

async function connectTo(initSeconds: number) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = serveSubscriptions({
    server,
    path: '/graphql',
    schema,
    log: createLog({ service: 's', instance: 's-1', level: 'silent' }),
    metrics: createMetrics({ service: 's' }),
    initSeconds,
    contextOf: async ({ extensions, startsAfter }) => {
      if (extensions.good !== true) throw new DomainError('UNAUTHENTICATED', 'No')
      return { startsAfter }
    },
  })
  scope.push(async () => {
    await close()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const socket = new WebSocket(`ws://127.0.0.1:${port}/graphql`, 'graphql-transport-ws')
  await once(socket, 'open')
  return socket
}

// The default resolver of `a` gives no iterable.
const schema = buildSchema('type Query { a: Int } type Subscription { a: Int counted: Int }')
const { counted } = schema.getSubscriptionType()?.getFields() ?? {}
if (counted) {
  counted.subscribe = (_root, _args, context: { startsAfter(it: string): void }) => {
    context.startsAfter('c0')
    return (async function* () {
      yield { counted: 1 }
    })()
  }
}

const init = '{"type":"connection_init"}'
const subscribe = (good: boolean, query = 'subscription { a }') =>
  JSON.stringify({ id: '1', type: 'subscribe', payload: { query, extensions: { good } } })

test.each([
  ['says nothing', []],
  ['greets and then says nothing', [init]],
  ['greets and is never admitted', [init, subscribe(false)]],
])('a socket that %s is closed in time', async (_case, messages) => {
  const socket = await connectTo(0.1)
  for (const message of messages) {
    socket.send(message)
    await once(socket, 'message')
  }
  expect((await once(socket, 'close'))[0]).toBe(4408)
})

test('one that was admitted once stays open, also when its subscription turns out to be broken', async () => {
  const socket = await connectTo(0.1)
  let code: number | undefined
  socket.on('close', (closeCode) => {
    code = closeCode
  })
  socket.send(init)
  await once(socket, 'message')
  socket.send(subscribe(true))
  expect(String((await once(socket, 'message'))[0])).toContain('"code":"INTERNAL"')
  const late = new WebSocket(socket.url, 'graphql-transport-ws')
  // Opened after the first and never admitted: by the time it is closed, the first has had its time.
  expect((await once(late, 'close'))[0]).toBe(4408)
  expect(code).toBeUndefined()
})

test('a message beyond the limit closes the socket', async () => {
  const socket = await connectTo(10)
  socket.send('x'.repeat(1024 * 1024 + 1))
  expect((await once(socket, 'close'))[0]).toBe(1009)
})

test('another subprotocol is refused', async () => {
  const { url } = await connectTo(10)
  const other = new WebSocket(url, 'graphql-ws')
  expect(String((await once(other, 'error'))[0])).toContain('no subprotocol')
})

test('who asks where a durable stream starts is told before its first event', async () => {
  const socket = await connectTo(5)
  socket.send(init)
  await once(socket, 'message')
  const messages: Record<string, unknown>[] = []
  socket.on('message', (data) => messages.push(JSON.parse(String(data))))
  for (const [id, asks] of [
    ['1', true],
    ['2', false],
  ] as const) {
    const extensions = { good: true, berthStartsAfter: asks }
    const payload = { query: 'subscription { counted }', extensions }
    socket.send(JSON.stringify({ id, type: 'subscribe', payload }))
  }
  const next = { type: 'next', payload: { data: { counted: 1 } } }
  const start = { data: null, extensions: { berthStartsAfter: 'c0' } }
  await expect
    .poll(() => messages.filter(({ id }) => id === '1').slice(0, 2))
    .toEqual([
      { ...next, id: '1', payload: start },
      { ...next, id: '1' },
    ])
  await expect.poll(() => messages.find(({ id }) => id === '2')).toEqual({ ...next, id: '2' })
  socket.terminate()
})
