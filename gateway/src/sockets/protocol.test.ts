import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type FaceRig, openFaceRig, type RawClient, rawClient } from './faces.test-kit.ts'

const EVENTS = 'subscription { events }'
const LIMIT = 100

let rig: FaceRig
/** On the same server all the while: it must never notice what others do. */
let bystander: RawClient
let emitted = 0
beforeAll(async () => {
  rig = await openFaceRig({ limits: { initMs: 200, messages: { perSecond: 1_000, burst: 5_000 } } })
})
afterAll(() => rig[Symbol.asyncDispose]())
beforeEach(async () => {
  emitted = 0
  bystander = await admitted({ authorization: 'Bearer a' })
  bystander.subscribe('own', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(1)
})
afterEach(async () => {
  for (let i = 0; i < 3; i++) rig.emit(++emitted)
  bystander.subscribe('last', '{ hello }')
  await expect.poll(() => bystander.received.at(-1)).toEqual({ id: 'last', type: 'complete' })
  const own = bystander.received.filter((it) => it.id === 'own')
  expect(own).toEqual(
    Array.from({ length: emitted }, (_, i) => ({
      id: 'own',
      type: 'next',
      payload: { data: { events: String(i + 1) } },
    })),
  )
  bystander.socket.close()
  await bystander.closed
  await expect.poll(() => rig.streams.length).toBe(0)
  await expect.poll(() => rig.value('berth_client_sockets')).toBe(0)
  expect(await rig.value('berth_client_operations')).toBe(0)
  expect(await rig.value('berth_client_connections')).toBe(0)
  for (const it of rig.standings.splice(0)) expect(it.isClosed).toBe(true)
  expect(rig.logged.splice(0).filter((it) => /"level":"(error|fatal)"/.test(it))).toEqual([])
})

async function admitted(payload?: Record<string, unknown>): Promise<RawClient> {
  const client = await rawClient(rig.url)
  await client.init(payload)
  return client
}

const emit = () => rig.emit(++emitted)

test.each([
  ['not JSON', 'x'],
  ['empty', ''],
  ['a list', '[]'],
  ['a text', '"ping"'],
  ['null', 'null'],
  ['without a type', '{}'],
  ['of a type that is no text', { type: 1 }],
  ['of an unknown type', { type: 'start', id: '1', payload: { query: EVENTS } }],
  ['a server’s: connection_ack', { type: 'connection_ack' }],
  ['a server’s: next', { id: '1', type: 'next', payload: { data: {} } }],
  ['a server’s: error', { id: '1', type: 'error', payload: [{ message: 'x' }] }],
  ['subscribe without an id', { type: 'subscribe', payload: { query: EVENTS } }],
  [
    'subscribe with an id that is no text',
    { id: 1, type: 'subscribe', payload: { query: EVENTS } },
  ],
  ['subscribe with an empty id', { id: '', type: 'subscribe', payload: { query: EVENTS } }],
  ['subscribe with a payload that is no object', { id: '1', type: 'subscribe', payload: EVENTS }],
  ['subscribe without a query', { id: '1', type: 'subscribe', payload: {} }],
  [
    'subscribe with variables that are no object',
    { id: '1', type: 'subscribe', payload: { query: EVENTS, variables: [] } },
  ],
  [
    'subscribe with an operation name that is no text',
    { id: '1', type: 'subscribe', payload: { query: EVENTS, operationName: 1 } },
  ],
  [
    'subscribe with a very long id',
    { id: 'x'.repeat(257), type: 'subscribe', payload: { query: EVENTS } },
  ],
  ['complete without an id', { type: 'complete' }],
  ['ping with a payload that is no object', { type: 'ping', payload: 'x' }],
  [
    'ping with a payload that is too deep to be sent back',
    `{"type":"ping","payload":{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`,
  ],
])('a message %s closes with 4400', async (_what, message) => {
  const client = await admitted()
  client.send(message)
  expect((await client.closed).code).toBe(4400)
})

test.each([
  ['a binary frame', (it: RawClient) => it.socket.send(Buffer.from('{"type":"ping"}')), 4400],
  [
    'a message beyond 1 MiB',
    (it: RawClient) => it.send({ type: 'ping', payload: { x: 'x'.repeat(1024 * 1024) } }),
    1009,
  ],
  ['one of 10 MB', (it: RawClient) => it.send('x'.repeat(10_000_000)), 1009],
  [
    'a frame that is not UTF-8',
    (it: RawClient) => it.socket.send(Buffer.from([0x22, 0xc3, 0x28, 0x22]), { binary: false }),
    1007,
  ],
  ['a second connection_init', (it: RawClient) => it.send({ type: 'connection_init' }), 4429],
])('%s closes with its code', async (_what, act, code) => {
  const client = await admitted()
  act(client)
  expect((await client.closed).code).toBe(code)
})

test('an id that is in use closes with 4409, however long it is', async () => {
  for (const id of ['1', 'x'.repeat(256)]) {
    const client = await admitted()
    client.subscribe(id, EVENTS)
    client.subscribe(id, EVENTS)
    expect((await client.closed).code).toBe(4409)
  }
})

test.each([
  ['that is not valid', { authorization: 'Bearer bad' }, 4401, /^UNAUTHENTICATED: .*sign in/],
  ['for an organization of others', { authorization: 'Bearer foreign' }, 4403, /^FORBIDDEN: /],
  ['that cannot be checked now', { authorization: 'Bearer away' }, 4503, /^UNAVAILABLE: /],
  ['that is no text', { authorization: ['a'] }, 4400, /^BAD_INPUT: /],
])('a credential %s closes the connection', async (_what, payload, code, reason) => {
  const client = await rawClient(rig.url)
  client.send({ type: 'connection_init', payload })
  const ended = await client.closed
  expect(ended.code).toBe(code)
  expect(ended.reason).toMatch(reason)
})

test('an operation before the connection is admitted closes with 4401', async () => {
  const early = await rawClient(rig.url)
  early.subscribe('1', EVENTS)
  expect((await early.closed).code).toBe(4401)
  rig.authentication = Promise.withResolvers()
  const impatient = await rawClient(rig.url)
  impatient.send({ type: 'connection_init' })
  impatient.subscribe('1', EVENTS)
  expect((await impatient.closed).code).toBe(4401)
  rig.authentication.resolve()
  rig.authentication = null
  // Who it is was found out for one who was gone by then.
  await expect.poll(() => rig.standings.at(-1)?.isClosed).toBe(true)
})

test('one who does not say connection_init in time is closed with 4408', async () => {
  const client = await rawClient(rig.url)
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  expect((await client.closed).code).toBe(4408)
})

test.each([
  ['no subprotocol', undefined],
  ['the old one', 'graphql-ws'],
])('a handshake with %s ends with 4406', async (_what, protocol) => {
  const { socket, frames } = await rawHandshake(protocol)
  // 0x88: a close frame; its code is in the first two bytes.
  await expect.poll(() => frames()[0]).toBe(0x88)
  expect(frames().readUInt16BE(2)).toBe(4406)
  socket.destroy()
})

test('pings are answered, with their payload; a pong that nobody asked for is not', async () => {
  const client = await rawClient(rig.url)
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  client.send({ type: 'pong', payload: { x: 1 } })
  client.send({ type: 'ping', payload: { at: 1, deep: { x: [null] } } })
  expect(await client.next()).toEqual({ type: 'pong', payload: { at: 1, deep: { x: [null] } } })
  await client.init()
  client.send({ type: 'pong' })
  client.send({ type: 'ping', payload: null })
  expect(await client.next()).toEqual({ type: 'pong' })
  client.socket.ping('x')
  expect(String((await once(client.socket, 'pong'))[0])).toBe('x')
  client.socket.close()
  await client.closed
})

test('a message in fragments is one message, and fields that are not known are passed over', async () => {
  const client = await rawClient(rig.url)
  client.send({ type: 'connection_init', extra: 1, payload: { other: {}, authorization: null } })
  expect(await client.next()).toEqual({ type: 'connection_ack' })
  const text = JSON.stringify({
    id: 'ä',
    type: 'subscribe',
    extra: [],
    payload: { query: '{ hello }', other: 1, extensions: { other: 1 } },
  })
  const bytes = Buffer.from(text)
  // In the middle of the letter, too.
  const cut = bytes.indexOf(0xc3) + 1
  client.socket.send(bytes.subarray(0, cut), { binary: false, fin: false })
  client.socket.send(bytes.subarray(cut), { binary: false, fin: true })
  expect(await client.next()).toEqual({
    id: 'ä',
    type: 'next',
    payload: { data: { hello: 'there' } },
  })
  expect(await client.next()).toEqual({ id: 'ä', type: 'complete' })
  client.socket.close()
  await client.closed
})

test('an operation that is refused gets an error, and its id and the connection stay of use', async () => {
  const client = await admitted()
  for (const [query, code] of [
    ['{', 'BAD_INPUT'],
    ['{ nothing }', 'BAD_INPUT'],
    ['{ none }', 'BAD_INPUT'],
    ['subscription { refused }', 'FORBIDDEN'],
  ] as const) {
    client.subscribe('1', query)
    expect(await client.next()).toEqual({
      id: '1',
      type: 'error',
      payload: [expect.objectContaining({ extensions: expect.objectContaining({ code }) })],
    })
  }
  client.send({
    id: '1',
    type: 'subscribe',
    payload: { query: '{ hello }', extensions: { idempotencyKey: 1 } },
  })
  expect((await client.next()).type).toBe('error')
  client.subscribe('1', '{ hello }')
  expect((await client.next()).type).toBe('next')
  expect(await client.next()).toEqual({ id: '1', type: 'complete' })
  client.socket.close()
  await client.closed
})

test('a stream’s end comes after every event, and an error instead of it', async () => {
  const client = await admitted()
  client.subscribe('1', EVENTS)
  client.subscribe('2', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(3)
  const [, first, second] = [...rig.streams]
  first?.client.next('{"data":1}')
  first?.client.next('{"data":2}')
  rig.end(first)
  first?.client.next('{"data":3}')
  second?.client.next('{"data":4}')
  rig.end(second, new DomainError('STREAM_RESET', 'Read the state anew'))
  await expect.poll(() => client.received.length).toBe(6)
  expect(client.received.slice(1).map(({ id, type }) => `${id} ${type}`)).toEqual([
    '1 next',
    '1 next',
    '2 next',
    '1 complete',
    '2 error',
  ])
  expect(client.received.at(-1)?.payload).toMatchObject([{ extensions: { code: 'STREAM_RESET' } }])
  client.socket.close()
  await client.closed
})

test('what a client completes says nothing more, also while events flow', async () => {
  const client = await admitted()
  for (let round = 0; round < 50; round++) {
    client.subscribe('1', EVENTS)
    await expect.poll(() => rig.streams.length, { interval: 1 }).toBe(2)
    const [, mine] = rig.streams
    emit()
    client.send({ id: '1', type: 'complete' })
    emit()
    // The gateway has taken the `complete` once it answers what was sent after it.
    client.send({ type: 'ping', payload: { round } })
    const answered = () => expect(client.received.at(-1)?.payload).toEqual({ round })
    await vi.waitFor(answered, { interval: 1 })
    const { length } = client.received
    mine?.client.next('{"data":"late"}')
    rig.end(mine)
    emit()
    client.send({ type: 'ping' })
    await vi.waitFor(() => expect(client.received.length).toBeGreaterThan(length), { interval: 1 })
    expect(client.received.slice(length)).toEqual([{ type: 'pong' }])
    expect(client.received.some((it) => it.type === 'complete')).toBe(false)
  }
  client.socket.close()
  await client.closed
})

test('complete for what is not known, or ended by itself meanwhile, is ignored', async () => {
  const client = await admitted()
  client.send({ id: 'unknown', type: 'complete' })
  client.subscribe('1', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(2)
  const [, mine] = rig.streams
  client.send({ id: '1', type: 'complete' })
  rig.end(mine)
  client.send({ id: '1', type: 'complete' })
  client.send({ type: 'ping' })
  await expect.poll(() => client.received.at(-1)).toEqual({ type: 'pong' })
  expect(client.received.filter((it) => it.type === 'complete').length).toBeLessThanOrEqual(1)
  expect(client.isClosed).toBe(false)
  client.socket.close()
  await client.closed
})

test('an id that was completed may be used again at once, and means the new operation only', async () => {
  const client = await admitted()
  // In one packet, so that the gateway reads them in one go.
  const packet = (messages: unknown[]) => {
    tcpOf(client).cork()
    for (const it of messages) client.send(it)
    tcpOf(client).uncork()
  }
  const subscribe = { id: '1', type: 'subscribe', payload: { query: EVENTS } }
  const complete = { id: '1', type: 'complete' }
  packet([subscribe])
  await expect.poll(() => rig.streams.length).toBe(2)
  const [, first] = rig.streams
  packet([complete, subscribe])
  await expect.poll(() => rig.streams.length === 2 && rig.streams[1] !== first).toBe(true)
  first?.client.next('{"data":"of the first"}')
  rig.streams[1]?.client.next('{"data":"of the second"}')
  expect(await client.next()).toEqual({ id: '1', type: 'next', payload: { data: 'of the second' } })
  packet([complete])
  await expect.poll(() => rig.streams.length).toBe(1)

  // And while the first is still being admitted, or is a query that runs.
  rig.admission = Promise.withResolvers()
  packet([subscribe, complete, subscribe, complete, subscribe])
  rig.admission.resolve()
  rig.admission = null
  await expect.poll(() => rig.streams.length).toBe(2)
  rig.streams[1]?.client.next('{"data":"of the last"}')
  expect(await client.next()).toEqual({ id: '1', type: 'next', payload: { data: 'of the last' } })
  packet([complete, { id: '1', type: 'subscribe', payload: { query: '{ slow }' } }])
  await expect.poll(() => rig.executed.includes('{ slow }')).toBe(true)
  packet([complete, { id: '1', type: 'subscribe', payload: { query: '{ hello }' } }])
  await expect.poll(() => rig.executed.at(-1)).toBe('{ hello }')
  rig.slow.resolve()
  expect(await client.next()).toEqual({
    id: '1',
    type: 'next',
    payload: { data: { hello: 'there' } },
  })
  expect(await client.next()).toEqual({ id: '1', type: 'complete' })
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  client.socket.close()
  await client.closed
})

test('what is completed while it is being admitted is never run', async () => {
  const client = await admitted()
  const before = rig.executed.length
  rig.admission = Promise.withResolvers()
  client.subscribe('1', EVENTS)
  client.subscribe('2', 'mutation { set }')
  client.send({ id: '1', type: 'complete' })
  client.send({ id: '2', type: 'complete' })
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  rig.admission.resolve()
  rig.admission = null
  client.subscribe('3', '{ hello }')
  expect((await client.next()).id).toBe('3')
  expect(rig.executed.slice(before)).toEqual(['{ hello }'])
  expect(rig.streams.length).toBe(1)
  client.socket.close()
  await client.closed
})

test('a thousand rapid pairs of subscribe and complete leave nothing behind', async () => {
  const client = await admitted()
  for (let i = 0; i < 1_000; i++) {
    client.subscribe(`${i}`, EVENTS)
    client.send({ id: `${i}`, type: 'complete' })
    if (i % 50 === 0) emit()
  }
  client.send({ type: 'ping' })
  await expect.poll(() => client.received.at(-1)).toEqual({ type: 'pong' })
  await expect.poll(() => rig.streams.length).toBe(1)
  expect(await rig.value('berth_client_operations')).toBe(1)
  expect(client.received.filter((it) => it.type === 'complete')).toEqual([])
  client.subscribe('again', '{ hello }')
  await expect.poll(() => client.received.at(-1)).toEqual({ id: 'again', type: 'complete' })
  client.socket.close()
  await client.closed
})

test(`a connection has ${LIMIT} operations open, and one more is refused`, async () => {
  const client = await admitted()
  for (let i = 0; i < LIMIT; i++) client.subscribe(`${i}`, EVENTS)
  await expect.poll(() => rig.streams.length).toBe(LIMIT + 1)
  client.subscribe('beyond', EVENTS)
  expect(await client.next()).toMatchObject({
    id: 'beyond',
    type: 'error',
    payload: [{ extensions: { code: 'TOO_COMPLEX' } }],
  })
  client.send({ id: '0', type: 'complete' })
  client.subscribe('now', '{ hello }')
  expect((await client.next()).id).toBe('now')
  client.socket.terminate()
  await client.closed
})

test('a connection that is lost, whatever it was doing, leaves nothing behind', async () => {
  rig.admission = Promise.withResolvers()
  rig.slow = Promise.withResolvers()
  const client = await admitted()
  client.subscribe('admission', EVENTS)
  client.send({ type: 'ping' })
  await client.next()
  rig.admission.resolve()
  rig.admission = null
  client.subscribe('stream', EVENTS)
  client.subscribe('query', '{ slow }')
  await expect.poll(() => rig.streams.length).toBeGreaterThan(1)
  client.socket.terminate()
  await client.closed
  rig.slow.resolve()
  await expect.poll(() => rig.streams.length).toBe(1)
})

test('whoever loses the right to ask has their streams ended, and then the connection', async () => {
  for (const [error, code] of [
    [new DomainError('UNAUTHENTICATED', 'The credential has expired'), 4401],
    [new DomainError('FORBIDDEN', 'You do not belong to this organization'), 4403],
  ] as const) {
    const client = await admitted({ authorization: 'Bearer b' })
    client.subscribe('1', EVENTS)
    client.subscribe('2', EVENTS)
    await expect.poll(() => rig.streams.length).toBe(3)
    rig.slow = Promise.withResolvers()
    const hasQuery = code === 4403
    if (hasQuery) client.subscribe('3', '{ slow }')
    if (hasQuery) await expect.poll(() => rig.value('berth_client_operations')).toBe(4)
    rig.standings.at(-1)?.set(error)
    expect((await client.closed).code).toBe(code)
    expect(client.received.slice(1)).toEqual(
      ['1', '2'].map((id) => ({
        id,
        type: 'error',
        payload: [expect.objectContaining({ message: error.message })],
      })),
    )
    rig.slow.resolve()
    // One who has nothing open is closed as well.
    const idle = await admitted({ authorization: 'Bearer b' })
    rig.standings.at(-1)?.set(error)
    expect((await idle.closed).code).toBe(code)
  }
})

test('while it is in doubt who asks, an operation waits, and then runs or is refused', async () => {
  const client = await admitted({ authorization: 'Bearer b' })
  const standing = rig.standings.at(-1)
  standing?.set(null)
  client.subscribe('1', '{ hello }')
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  standing?.set(createActor({ kind: 'person', subject: 'usr_01h455vb4pex5vsknk084sn0bq' }))
  expect(await client.next()).toMatchObject({ id: '1', type: 'next' })
  expect(await client.next()).toMatchObject({ id: '1', type: 'complete' })
  standing?.set(null)
  client.subscribe('2', '{ hello }')
  client.send({ type: 'ping' })
  expect(await client.next()).toEqual({ type: 'pong' })
  standing?.set(new DomainError('UNAUTHENTICATED', 'Signed out'))
  expect((await client.closed).code).toBe(4401)
  expect(client.received.some((it) => it.id === '2' && it.type === 'next')).toBe(false)
})

/** A handshake by hand: what comes after it is the frames as they are. */
async function rawHandshake(
  protocol: string | undefined,
): Promise<{ socket: Socket; frames: () => Buffer }> {
  const socket = connect(rig.http.port, '127.0.0.1')
  let bytes = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
  })
  socket.write(
    [
      'GET /graphql HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : []),
      '\r\n',
    ].join('\r\n'),
  )
  const endOfHead = () => bytes.indexOf('\r\n\r\n')
  await expect.poll(endOfHead).toBeGreaterThan(0)
  return { socket, frames: () => bytes.subarray(endOfHead() + 4) }
}

/** What a WebSocket of `ws` is carried by, which its types keep to themselves. */
function tcpOf({ socket }: RawClient): Socket {
  return (socket as unknown as { _socket: Socket })._socket
}
