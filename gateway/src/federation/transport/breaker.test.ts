import { expect, test, vi } from 'vitest'
import { OK, type TestClient, testClient, testServer } from './test-kit.ts'

const LIMITS = { restartWithinMs: 0, queryTimeoutMs: 500, breakerOpenMs: 300 }

async function state({ metrics }: TestClient): Promise<number | undefined> {
  const gauge = await metrics.registry.getSingleMetric('berth_subgraph_breaker_state')?.get()
  return gauge?.values[0]?.value
}

async function failMany(client: TestClient, count = 40): Promise<void> {
  await Promise.allSettled(Array.from({ length: count }, () => client.read()))
}

test('most calls fail: the next are refused at once, one finds out, and then all are answered', async () => {
  await using server = await testServer()
  await using client = testClient([server.url], LIMITS)
  await client.read()
  expect(await state(client)).toBe(0)
  await server.stop()
  await failMany(client)
  expect(await state(client)).toBe(2)

  await server.start()
  server.received.length = 0
  await expect(client.read()).rejects.toMatchObject({
    code: 'UPSTREAM_UNAVAILABLE',
    extensions: { retryAfterSeconds: 1 },
  })
  await expect(client.write()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  expect(server.received).toEqual([])

  await vi.waitFor(async () => expect(await client.read()).toEqual({ data: { a: 1 } }))
  expect(await state(client)).toBe(0)
  await Promise.all(Array.from({ length: 40 }, () => client.read()))
  const states = client.logged
    .filter((it) => it.includes('circuit breaker'))
    .map((it) => JSON.parse(it))
  expect(states.map((it) => [it.subgraph, it.state])).toEqual([
    ['things', 'open'],
    ['things', 'half-open'],
    ['things', 'closed'],
  ])
})

test('while one finds out, the others do not wait for it; if it fails, it stays open', async () => {
  await using server = await testServer(() => undefined)
  await using client = testClient([server.url], { ...LIMITS, queryTimeoutMs: 100 })
  await failMany(client)
  expect(await state(client)).toBe(2)
  const finds = '{"query":"{ finds }"}'
  const others = '{"query":"{ others }"}'
  let probe: Promise<unknown> | undefined
  // Refused until it may be tried again.
  await vi.waitFor(
    async () => {
      probe = client.read(finds)
      probe.catch(() => undefined)
      expect(await state(client)).toBe(1)
    },
    { timeout: 10_000 },
  )
  await expect(client.read(others)).rejects.toMatchObject({ extensions: { retryAfterSeconds: 1 } })
  expect(await state(client)).toBe(1)
  await expect(probe).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(await state(client)).toBe(2)
  // Of those before, some may come only now.
  expect(server.received).not.toContain(others)
  expect(server.received.filter((it) => it === finds).length).toBeLessThan(2)
})

test.each([
  [
    'errors of GraphQL',
    200,
    '{"data":null,"errors":[{"message":"a","extensions":{"code":"UNAVAILABLE"}}]}',
  ],
  ['refusals', 401, '{"errors":[{"message":"a","extensions":{"code":"UNAUTHENTICATED"}}]}'],
  ['nonsense', 200, '<html>'],
  ['faults', 500, 'oops'],
])('%s are answers: they open nothing', async (_what, status, text) => {
  await using server = await testServer(
    (_body, response) => void response.writeHead(status).end(text),
  )
  await using client = testClient([server.url], LIMITS)
  await failMany(client)
  expect(await state(client)).toBe(0)
  expect(server.received).toHaveLength(40)
})

test('a few failures, or few calls, open nothing', async () => {
  let count = 0
  await using server = await testServer((...of) => {
    if (++count % 4 === 0) of[1].socket?.destroy()
    else OK(...of)
  })
  await using client = testClient([server.url], LIMITS)
  for (let i = 0; i < 100; i++) await client.write().catch(() => undefined)
  expect(await state(client)).toBe(0)
  await using quiet = testClient(['http://127.0.0.1:1'], LIMITS)
  await failMany(quiet, 15)
  expect(await state(quiet)).toBe(0)
})

test('a call that began before it opened does not open it again', async () => {
  const late: (() => void)[] = []
  await using server = await testServer((_body, response) => {
    late.push(() => response.socket?.destroy())
  })
  await using client = testClient([server.url], { ...LIMITS, queryTimeoutMs: 5_000 })
  const old = Array.from({ length: 20 }, () => client.write())
  await vi.waitFor(() => expect(late).toHaveLength(20))
  server.behave = (_body, response) => void response.socket?.destroy()
  await failMany(client)
  expect(await state(client)).toBe(2)
  server.behave = OK
  await vi.waitFor(async () => expect(await client.read()).toEqual({ data: { a: 1 } }))
  for (const fail of late) fail()
  await Promise.allSettled(old)
  expect(await state(client)).toBe(0)
})
