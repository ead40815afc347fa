import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { buildSchema } from 'graphql'
import { afterEach, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { DomainError } from './errors.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { serveSubscriptions } from './subscriptions.ts'

const scope: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const dispose of scope.splice(0).reverse()) await dispose()
})

async function connectTo(initSeconds: number, livesMs = 60_000) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = serveSubscriptions({
    server,
    path: '/graphql',
    schema,
    log: createLog({ service: 's', instance: 's-1', level: 'silent' }),
    metrics: createMetrics({ service: 's' }),
    initSeconds,
    graceSeconds: 0.05,
    contextOf: async ({ extensions, startsAfter }) => {
      if (extensions.good !== true) throw new DomainError('UNAUTHENTICATED', 'No')
      return { context: { startsAfter }, expiresAt: new Date(Date.now() + livesMs) }
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
const schema = buildSchema(
  'type Query { a: Int } type Subscription { a: Int counted: Int quiet: Int busy: Int }',
)
const { counted, quiet, busy } = schema.getSubscriptionType()?.getFields() ?? {}
if (counted) {
  counted.subscribe = (_root, _args, context: { startsAfter(it: string): void }) => {
    context.startsAfter('c0')
    return (async function* () {
      yield { counted: 1 }
    })()
  }
}

const released = { quiet: vi.fn(), busy: vi.fn() }
if (quiet) {
  quiet.subscribe = () => ({
    next: () => new Promise(() => undefined),
    return: async () => {
      released.quiet()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  })
}
if (busy) {
  busy.subscribe = async function* () {
    try {
      for (let n = 0; ; n++) {
        await delay(1)
        yield { busy: n }
      }
    } finally {
      released.busy()
    }
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

test.each(['quiet', 'busy'] as const)(
  'one on a %s stream ends for a while, and alone, once who asked is no longer vouched for',
  async (field) => {
    released[field].mockClear()
    const socket = await connectTo(5, 150)
    const openedAt = performance.now()
    const ended: Record<string, unknown>[] = []
    let lastAt = 0
    socket.on('message', (data) => {
      const message = JSON.parse(String(data))
      if (message.type === 'next') lastAt = performance.now() - openedAt
      if (message.type === 'error' || message.type === 'complete') ended.push(message)
    })
    socket.send(init)
    await once(socket, 'message')
    socket.send(subscribe(true, `subscription { ${field} }`))
    await expect.poll(() => ended.length).toBe(1)
    expect(performance.now() - openedAt).toBeGreaterThan(150)
    expect(ended[0]).toMatchObject({
      id: '1',
      type: 'error',
      payload: [{ extensions: { code: 'UNAVAILABLE', retryable: true } }],
    })
    await expect.poll(() => released[field].mock.calls.length).toBe(1)
    // Nothing came after its end, and it can be asked for again on the same socket.
    expect(lastAt).toBeLessThanOrEqual(performance.now() - openedAt)
    socket.send(subscribe(true, 'subscription { counted }'))
    await expect.poll(() => ended.at(-1)?.type).toBe('complete')
    expect(ended).toHaveLength(2)
  },
)

test('what was ended by its subscriber is let go of once, and leaves no timer to end it', async () => {
  released.quiet.mockClear()
  const socket = await connectTo(5, 100)
  socket.send(init)
  await once(socket, 'message')
  const messages: string[] = []
  socket.on('message', (data) => messages.push(String(data)))
  socket.send(subscribe(true, 'subscription { quiet }'))
  await delay(20)
  socket.send('{"id":"1","type":"complete"}')
  await delay(250)
  expect(released.quiet).toHaveBeenCalledOnce()
  expect(messages).toEqual([])
})
