import { gzipSync } from 'node:zlib'
import { DomainError } from '@berth/platform/errors'
import { expect, test, vi } from 'vitest'
import { type Behaviour, OK, testClient, testServer, UNBROKEN, WRITE } from './test-kit.ts'

test('one request is one POST of the body, as who asks, under the request’s id and trace', async () => {
  const seen: Record<string, unknown>[] = []
  await using server = await testServer((_body, response, request) => {
    seen.push({ ...request.headers, method: request.method, url: request.url })
    response.end('{"data":{"a":1},"extensions":{"b":2}}')
  })
  await using client = testClient(
    [server.url],
    {},
    { headers: async () => ({ 'berth-actor': 'me' }) },
  )
  expect(await client.read()).toEqual({ data: { a: 1 }, extensions: { b: 2 } })
  await client.write()
  expect(server.received).toEqual(['{"query":"{ a }"}', WRITE])
  const common = {
    method: 'POST',
    url: '/graphql',
    'berth-actor': 'me',
    'content-type': 'application/json',
    accept: 'application/json',
    'x-request-id': 'request-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  }
  expect(seen).toMatchObject([common, { ...common, 'idempotency-key': '"key-1"' }])
  expect(seen[0]).not.toHaveProperty('idempotency-key')
  expect(seen[0]).not.toHaveProperty('accept-encoding')
})

test('an answer that is taken is not parsed, and one that is none is not offered', async () => {
  const texts = ['nothing that is JSON é', '{"data":{"a":1}}', '{"data":{"a":1}}']
  const statuses = [200, 200, 500]
  await using server = await testServer((_body, response) => {
    response.writeHead(statuses.shift() ?? 200)
    const text = texts.shift() ?? ''
    // In two pieces, the second of which begins within a character where there is one.
    response.write(Buffer.from(text).subarray(0, -1))
    setImmediate(() => response.end(Buffer.from(text).subarray(-1)))
  })
  await using client = testClient([server.url])
  const offered: string[] = []
  const take = (isTaken: boolean) => (bytes: Buffer) =>
    offered.push(bytes.toString()) > 0 && isTaken

  const taken = await client.read(undefined, take(true))
  expect(taken).toEqual({ taken: Buffer.from('nothing that is JSON é') })
  expect(await client.read(undefined, take(false))).toEqual({ data: { a: 1 } })
  expect(await client.read(undefined, take(true))).toEqual({ data: { a: 1 } })
  expect(offered).toEqual(['nothing that is JSON é', '{"data":{"a":1}}'])
})

test('credentials that cannot be made fail the call, and nothing is sent', async () => {
  await using server = await testServer()
  const refusal = new DomainError('UNAVAILABLE', 'no key')
  await using client = testClient([server.url], {}, { headers: () => Promise.reject(refusal) })
  await expect(client.read()).rejects.toBe(refusal)
  expect(server.received).toEqual([])
})

test('a write whose credentials come after its deadline is not sent', async () => {
  const late = Promise.withResolvers<Record<string, string>>()
  const made = [late.promise, { 'berth-actor': 'me' }]
  await using server = await testServer()
  await using client = testClient(
    [server.url],
    { mutationTimeoutMs: 20 },
    { headers: () => made.shift() ?? {} },
  )
  await expect(client.write()).rejects.toMatchObject({ code: 'TIMEOUT' })
  late.resolve({})
  await late.promise
  await client.read()
  expect(server.received).toEqual(['{"query":"{ a }"}'])
})

test('a header that is none is our fault, and breaks nothing', async () => {
  await using server = await testServer()
  await using client = testClient([server.url], {}, { headers: () => ({ 'x-a': 'b\r\nx-c: d' }) })
  await expect(client.read()).rejects.not.toBeInstanceOf(DomainError)
  expect(server.received).toEqual([])
})

const text =
  (body: string | Buffer, headers: Record<string, string> = {}, status = 200): Behaviour =>
  (_body, response) =>
    void response.writeHead(status, headers).end(body)
const raw =
  (...parts: string[]): Behaviour =>
  (_body, { socket }) => {
    for (const part of parts) socket?.write(part)
  }
const FAULT = { name: 'ProtocolError' }

const hostile: [string, Behaviour, { code?: string; name?: string }][] = [
  ['nothing', text(''), FAULT],
  ['no JSON', text('data'), FAULT],
  ['half of it', text('{"data":{"a":'), FAULT],
  ['a list', text('[{"data":{}}]'), FAULT],
  ['null', text('null'), FAULT],
  ['a number', text('1'), FAULT],
  ['an empty object', text('{}'), FAULT],
  ['a page', text('<html>', { 'content-type': 'text/html' }), FAULT],
  ['a redirect', text('', { location: 'http://127.0.0.1:1/' }, 307), FAULT],
  ['a fault of its own', text('oops', {}, 500), FAULT],
  ['data that is a text', text('{"data":"a"}'), FAULT],
  ['data that is a list', text('{"data":[]}'), FAULT],
  ['errors that are no list', text('{"data":null,"errors":{"message":"a"}}'), FAULT],
  ['errors that are texts', text('{"data":null,"errors":["a"]}'), FAULT],
  ['errors that are null', text('{"data":null,"errors":[null]}'), FAULT],
  ['an error without a message', text('{"errors":[{}]}'), FAULT],
  ['an error whose path is none', text('{"errors":[{"message":"a","path":[{}]}]}'), FAULT],
  [
    'an error whose extensions are none',
    text('{"errors":[{"message":"a","extensions":1}]}'),
    FAULT,
  ],
  ['errors of which there are none', text('{"errors":[]}'), FAULT],
  [
    'what is packed, and was not asked to be',
    text(gzipSync('{"data":{"a":1}}'), { 'content-encoding': 'gzip' }),
    FAULT,
  ],
  ['no HTTP', raw('hello\r\n\r\n'), FAULT],
  ['endless headers', raw('HTTP/1.1 200 OK\r\n', `x: ${'y'.repeat(100_000)}`), FAULT],
  [
    'a length that is too great to read',
    raw('HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n'),
    { code: 'TOO_COMPLEX' },
  ],
  ['too much', text(`{"data":{"a":"${'b'.repeat(20_000)}"}}`), { code: 'TOO_COMPLEX' }],
  [
    'without end',
    (_body, response) => {
      const timer = setInterval(() => response.write(' '.repeat(1_000)), 1)
      response.once('close', () => clearInterval(timer))
    },
    { code: 'TOO_COMPLEX' },
  ],
  [
    'slowly, without end',
    raw('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', '1\r\n{\r\n'),
    { code: 'TIMEOUT' },
  ],
  ['no headers, for ever', raw('HTTP/1.1 200 OK\r\n'), { code: 'TIMEOUT' }],
  ['never', () => undefined, { code: 'TIMEOUT' }],
  [
    'and breaks off',
    (_body, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{"data":')
      setImmediate(() => response.socket?.destroy())
    },
    { code: 'UPSTREAM_UNAVAILABLE' },
  ],
  [
    'as one that is draining',
    text('{"error":{"code":"UNAVAILABLE"}}', {}, 503),
    { code: 'UNAVAILABLE' },
  ],
  ['as a proxy does', text('<html>', {}, 504), { code: 'UPSTREAM_UNAVAILABLE' }],
]

test.each(hostile)(
  'who answers %s gets a typed error, and the next call is answered',
  async (_what, behave, error) => {
    await using server = await testServer(behave)
    await using client = testClient([server.url], {
      ...UNBROKEN,
      queryTimeoutMs: 400,
      maxAnswerBytes: 10_000,
      restartWithinMs: 0,
    })
    await expect(client.read()).rejects.toMatchObject(error)
    server.behave = OK
    expect(await client.read()).toEqual({ data: { a: 1 } })
  },
)

test.each([
  [
    '{"data":null,"errors":[{"message":"a","path":null,"extensions":null}]}',
    { data: null, errors: [{ message: 'a' }] },
  ],
  ['{"data":{"a":1},"errors":null}', { data: { a: 1 } }],
  ['{"errors":[{"message":"a","path":["b",0]}]}', { errors: [{ message: 'a', path: ['b', 0] }] }],
  [
    '{"data":{"__proto__":{"polluted":true}}}',
    { data: JSON.parse('{"__proto__":{"polluted":true}}') },
  ],
])('%s is an answer', async (body, answer) => {
  await using server = await testServer(text(body, { 'content-encoding': 'identity' }, 400))
  await using client = testClient([server.url])
  expect(await client.read()).toEqual(answer)
})

test('an answer that is torn within a letter is put together', async () => {
  const bytes = Buffer.from('{"data":{"a":"żółć 🦀 ü"}}')
  await using server = await testServer((_body, response) => {
    response.socket?.setNoDelay(true)
    const send = (at: number): void => {
      if (at === bytes.length) response.end()
      else response.write(bytes.subarray(at, at + 1), () => setImmediate(send, at + 1))
    }
    send(0)
  })
  await using client = testClient([server.url])
  expect(await client.read()).toEqual({ data: { a: 'żółć 🦀 ü' } })
})

test('a call that waited too long for a connection is not sent when there is one', async () => {
  let release: (() => void) | undefined
  await using server = await testServer((body, response) => {
    release = () => OK(body, response, response.req)
  })
  const limits = { ...UNBROKEN, queryTimeoutMs: 100, maxInFlight: 2 }
  await using client = testClient([server.url], limits, { connections: 1 })
  const first = client.write()
  await vi.waitFor(() => expect(release).toBeDefined())
  const late = client.read()
  await expect(client.read()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await expect(late).rejects.toMatchObject({ code: 'TIMEOUT' })
  release?.()
  await first
  server.behave = OK
  await client.read('{"query":"{ b }"}')
  expect(server.received).toEqual([WRITE, '{"query":"{ b }"}'])
})

test('what is under way when the gateway ends is an error', async () => {
  await using server = await testServer(() => undefined)
  const client = testClient([server.url])
  const asked = client.read()
  await vi.waitFor(() => expect(server.received).toHaveLength(1))
  await client[Symbol.asyncDispose]()
  await expect(asked).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  await expect(client.read()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
})
