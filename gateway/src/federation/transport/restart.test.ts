import channel from 'node:diagnostics_channel'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { OK, READ, testClient, testServer, UNBROKEN, WRITE } from './test-kit.ts'

/** Readers that ask again and again, each as soon as it was answered. */
function readers(client: { read(): Promise<unknown> }, count: number) {
  const errors: unknown[] = []
  let answers = 0
  let isOver = false
  const all = Array.from({ length: count }, async () => {
    while (!isOver && errors.length === 0) {
      await client.read().then(
        () => answers++,
        (error: unknown) => errors.push(error),
      )
    }
  })
  return {
    errors,
    /** Resolves when so many more were answered. */
    async answered(more: number) {
      const enough = answers + more
      const isEnough = () => expect(errors.length > 0 || answers >= enough).toBe(true)
      await vi.waitFor(isEnough, { timeout: 30_000 })
    },
    async end() {
      isOver = true
      await Promise.all(all)
    },
  }
}

test('a subgraph restarts, several times, under 300 readers: none of them sees it', async () => {
  await using server = await testServer()
  await using client = testClient([server.url])
  const reading = readers(client, 300)
  for (let restart = 0; restart < 3; restart++) {
    await reading.answered(1_000)
    await server.stop()
    await delay(1_000)
    await server.start()
  }
  await reading.answered(1_000)
  await reading.end()
  expect(reading.errors).toEqual([])
  expect(client.logged.filter((it) => it.includes('breaker'))).toEqual([])
})

test('while nobody listens, those who wait try one at a time, and all go on when it is back', async () => {
  await using server = await testServer()
  await using client = testClient([server.url], { restartWithinMs: 30_000 })
  await server.stop()
  const tried = vi.fn()
  channel.subscribe('undici:client:connectError', tried)
  const first = client.read()
  await vi.waitFor(() => expect(tried).toHaveBeenCalled())
  const all = Promise.all(Array.from({ length: 1_000 }, () => client.read()))
  await vi.waitFor(() => expect(tried.mock.calls.length).toBeGreaterThan(4), { timeout: 10_000 })
  await server.start()
  await first
  expect(await all).toHaveLength(1_000)
  channel.unsubscribe('undici:client:connectError', tried)
  expect(tried.mock.calls.length).toBeLessThan(50)
})

test.each([
  ['closes each connection after every second answer, without a word', 2, 'after'],
  ['has closed each connection by the time that its third request comes', 3, 'before'],
])('a server that %s: no reader sees it', async (_what, last, when) => {
  const counts = new WeakMap<object, number>()
  await using server = await testServer((_body, response, { socket }) => {
    const count = (counts.get(socket) ?? 0) + 1
    counts.set(socket, count)
    if (count === last && when === 'before') socket.destroy()
    else {
      response.end('{"data":{"a":1}}', () => {
        if (count === last) socket.destroy()
      })
    }
  })
  await using client = testClient([server.url], {}, { connections: 8 })
  const reading = readers(client, 50)
  await reading.answered(3_000)
  await reading.end()
  expect(reading.errors).toEqual([])
})

test('a mutation whose connection breaks is not repeated, a read is, twice', async () => {
  await using server = await testServer((_body, response) => void response.socket?.destroy())
  await using client = testClient([server.url])
  await expect(client.read()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  await expect(client.write()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  expect(server.received).toEqual([READ, READ, READ, WRITE])
})

test.each([503, 200])('a mutation that was answered %d is not repeated either', async (status) => {
  await using server = await testServer(
    (_body, response) =>
      void response.writeHead(status).end('{"error":{"code":"UNAVAILABLE","message":"stopping"}}'),
  )
  await using client = testClient([server.url])
  await expect(client.write()).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'stopping' })
  expect(server.received).toEqual([WRITE])
})

test('a mutation that was not sent waits for the restart, and arrives once', async () => {
  await using server = await testServer()
  await using client = testClient([server.url])
  await server.stop()
  const written = client.write()
  await delay(200)
  await server.start()
  expect(await written).toEqual({ data: { a: 1 } })
  expect(server.received).toEqual([WRITE])
})

test('of replicas one is gone: everything goes to the other, and it is not tried each time', async () => {
  await using gone = await testServer()
  await using alive = await testServer()
  await gone.stop()
  await using client = testClient([gone.url, alive.url])
  const tried = vi.fn()
  channel.subscribe('undici:client:connectError', tried)
  for (let i = 0; i < 20; i++) expect(await client.write()).toEqual({ data: { a: 1 } })
  channel.unsubscribe('undici:client:connectError', tried)
  expect(alive.received).toHaveLength(20)
  expect(tried.mock.calls.length).toBeLessThan(10)
})

test('replicas take turns', async () => {
  await using one = await testServer()
  await using two = await testServer()
  await using client = testClient([one.url, two.url])
  for (let i = 0; i < 10; i++) await client.read()
  expect([one.received.length, two.received.length]).toEqual([5, 5])
})

test('a replica that is draining passes reads on to the other', async () => {
  await using draining = await testServer(
    (_body, response) =>
      void response.writeHead(503).end('{"error":{"code":"UNAVAILABLE","message":"stopping"}}'),
  )
  await using alive = await testServer()
  await using client = testClient([draining.url, alive.url])
  for (let i = 0; i < 10; i++) expect(await client.read()).toEqual({ data: { a: 1 } })
})

test.each([
  ['a proxy’s 502', 502, '<html>'],
  ['a 503 in GraphQL’s words', 503, '{"errors":[{"message":"a"}]}'],
])('%s is asked again, and then answered', async (_what, status, text) => {
  let count = 0
  await using server = await testServer((...of) => {
    if (++count <= 2) of[1].writeHead(status).end(text)
    else OK(...of)
  })
  await using client = testClient([server.url])
  expect(await client.read()).toEqual({ data: { a: 1 } })
  expect(server.received).toHaveLength(3)
})

test('errors that GraphQL answers with are answers: they are not asked for again', async () => {
  const text = '{"data":null,"errors":[{"message":"a","extensions":{"code":"UNAVAILABLE"}}]}'
  await using server = await testServer((_body, response) => void response.end(text))
  await using client = testClient([server.url])
  expect(await client.read()).toEqual(JSON.parse(text))
  expect(server.received).toHaveLength(1)
})

test('repetitions are a fifth of all calls at most, so that they make no outage worse', async () => {
  await using server = await testServer((_body, response) => void response.writeHead(503).end())
  await using client = testClient([server.url], UNBROKEN)
  await Promise.allSettled(Array.from({ length: 500 }, () => client.read()))
  expect(server.received.length).toBeGreaterThan(505)
  expect(server.received.length).toBeLessThanOrEqual(600)
})

test('what took too long is not asked again', async () => {
  await using server = await testServer(() => undefined)
  await using client = testClient([server.url], { queryTimeoutMs: 300 })
  await expect(client.read()).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(server.received).toHaveLength(1)
})

test('the deadline is over all repetitions', async () => {
  await using server = await testServer()
  await using client = testClient([server.url], { queryTimeoutMs: 300, restartWithinMs: 60_000 })
  await server.stop()
  await expect(client.read()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
})

test('away for longer than a restart takes: those who wait give up together, later ones at once', async () => {
  await using server = await testServer()
  await using client = testClient([server.url], { ...UNBROKEN, restartWithinMs: 300 })
  await server.stop()
  const waiting = await Promise.allSettled([client.read(), client.write(), client.read()])
  expect(waiting.map((it) => it.status)).toEqual(['rejected', 'rejected', 'rejected'])
  await expect(client.read()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  await server.start()
  expect(await client.read()).toEqual({ data: { a: 1 } })
})
