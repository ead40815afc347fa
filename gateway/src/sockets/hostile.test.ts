import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type FaceRig, openFaceRig, type RawClient, rawClient } from './faces.test-kit.ts'
import type { FaceLimits } from './faces.ts'

const EVENTS = 'subscription { events }'

let rig: FaceRig
afterEach(() => rig[Symbol.asyncDispose]())

async function open(limits: FaceLimits): Promise<void> {
  rig = await openFaceRig({ limits })
}

async function admitted(payload?: Record<string, unknown>): Promise<RawClient> {
  const client = await rawClient(rig.url)
  await client.init(payload)
  return client
}

/** What an upgrade is answered with. */
async function upgrade(headers: Record<string, string> = {}) {
  const socket = new WebSocket(`${rig.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    headers,
  })
  socket.on('error', () => undefined)
  const answer = await new Promise<{
    status: number
    body: string
    retryAfter: string | undefined
  }>((resolve) => {
    socket.once('open', () => resolve({ status: 101, body: '', retryAfter: undefined }))
    socket.once('unexpected-response', (_request, response) => {
      let body = ''
      response.on('data', (chunk) => {
        body += chunk
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body,
          retryAfter: response.headers['retry-after'],
        }),
      )
    })
  })
  return { socket, ...answer }
}

test.each([
  ['address', { perAddress: 2 }, 429, 'RATE_LIMITED'],
  ['server', { total: 2 }, 503, 'UNAVAILABLE'],
])(
  'one connection too many of an %s is answered at the upgrade, before anyone says who it is',
  async (_what, limits, status, code) => {
    await open(limits)
    const [first] = [await upgrade(), await upgrade()]
    const refused = await upgrade()
    expect(refused.status).toBe(status)
    expect(refused.retryAfter).toBe('10')
    expect(JSON.parse(refused.body)).toEqual({
      error: {
        code,
        message: expect.any(String),
        requestId: expect.any(String),
        retryable: true,
        retryAfterSeconds: 10,
      },
    })
    // An event stream is one, too.
    const stream = await fetch(`${rig.url}/graphql/stream`, { method: 'PUT' })
    expect(stream.status).toBe(status)
    first?.socket.close()
    await expect.poll(() => rig.value('berth_client_connections')).toBe(1)
    const again = await upgrade()
    expect(again.status).toBe(101)
    again.socket.terminate()
  },
)

test('one connection too many of a person is closed with 4417, and others’ are not', async () => {
  await open({ perActor: 2 })
  await admitted({ authorization: 'Bearer a' })
  const second = await admitted({ authorization: 'Bearer a' })
  const third = await rawClient(rig.url)
  third.send({ type: 'connection_init', payload: { authorization: 'Bearer a' } })
  const { code, reason } = await third.closed
  expect(code).toBe(4417)
  expect(reason).toMatch(/^RATE_LIMITED: This actor has 2 connections/)
  await expect.poll(() => rig.standings.at(-1)?.isClosed).toBe(true)
  await admitted({ authorization: 'Bearer b' })
  second.socket.close()
  await second.closed
  await expect.poll(() => rig.value('berth_client_connections')).toBe(2)
  await admitted({ authorization: 'Bearer a' })
  expect(await rig.value('berth_client_sockets_closed_total', 'code="4417"')).toBe(1)
})

test.each([
  ['pings', (it: RawClient) => it.send({ type: 'ping' })],
  ['pongs', (it: RawClient) => it.send({ type: 'pong' })],
  ['pings of the transport', (it: RawClient) => it.socket.ping()],
  ['pongs of the transport', (it: RawClient) => it.socket.pong()],
  ['completes', (it: RawClient) => it.send({ type: 'complete', id: '1' })],
])('a flood of %s is closed with 4417', async (_what, act) => {
  await open({ messages: { perSecond: 1, burst: 20 } })
  const client = await admitted()
  for (let i = 0; i < 18; i++) act(client)
  client.subscribe('1', '{ hello }')
  await expect.poll(() => client.received.some((it) => it.type === 'next')).toBe(true)
  for (let i = 0; i < 20; i++) act(client)
  expect((await client.closed).code).toBe(4417)
})

test('a client that answers no ping is cut off, and one that does is not', async () => {
  await open({ pingMs: 600 })
  const client = await admitted()
  client.subscribe('1', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(1)
  const dead = connect(rig.http.port, '127.0.0.1')
  dead.write(
    'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      'Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
  )
  let answers = ''
  dead.on('data', (chunk) => {
    answers += chunk
  })
  // Masked with zeros.
  const say = (text: string) =>
    dead.write(Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0, ...Buffer.from(text)]))
  say('{"type":"connection_init"}')
  await expect.poll(() => answers).toContain('connection_ack')
  say(`{"id":"1","type":"subscribe","payload":{"query":"${EVENTS}"}}`)
  await expect.poll(() => rig.streams.length).toBe(2)
  await once(dead, 'close')
  await expect.poll(() => rig.streams.length).toBe(1)
  expect(await rig.value('berth_client_sockets_closed_total', 'code="1006"')).toBe(1)
  rig.emit(1)
  await expect.poll(() => client.received.at(-1)?.type).toBe('next')
})

test('a client that does not read is closed with 4413, and delays nobody', async () => {
  await open({ queue: { messages: 64, characters: 1024 * 1024 } })
  const [slow, other] = [await admitted(), await admitted()]
  for (const it of [slow, other]) it?.subscribe('1', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(2)
  slow?.socket.pause()
  const text = JSON.stringify({ data: { events: 'x'.repeat(64 * 1024) } })
  let sent = 0
  await expect
    .poll(
      () => {
        for (const { client } of [...rig.streams]) client.next(text)
        sent++
        return rig.streams.length
      },
      { interval: 1 },
    )
    .toBe(1)
  await expect.poll(() => other?.received.length).toBe(sent + 1)
  slow?.socket.resume()
  expect((await slow?.closed)?.code).toBe(4413)
  expect(slow?.received.length).toBeLessThan(sent)
  expect(other?.isClosed).toBe(false)
})

test('a client that sends and never reads the answers is closed with 4413', async () => {
  await open({
    queue: { messages: 64, characters: 1024 * 1024 },
    messages: { perSecond: 1e6, burst: 1e6 },
  })
  const client = await admitted()
  client.socket.pause()
  const payload = { x: 'x'.repeat(100_000) }
  await expect
    .poll(
      () => {
        for (let i = 0; i < 20; i++) client.send({ type: 'ping', payload })
        return rig.logged.some((it) => it.includes('SLOW_CLIENT'))
      },
      { interval: 5 },
    )
    .toBe(true)
  client.socket.resume()
  expect([1006, 4413]).toContain((await client.closed).code)
})

test('a client that never ends the closing handshake is cut off', async () => {
  await open({ closeMs: 100, messages: { perSecond: 1, burst: 10 } })
  const client = await admitted()
  client.subscribe('1', EVENTS)
  await expect.poll(() => rig.streams.length).toBe(1)
  client.socket.pause()
  for (let i = 0; i < 20; i++) client.send({ type: 'ping' })
  await expect.poll(() => rig.value('berth_client_sockets')).toBe(0)
  await expect.poll(() => rig.streams.length).toBe(0)
})

test('closes are counted by code, and a code of the client’s own adds no label', async () => {
  await open({})
  for (const code of [1000, 4400, 3999, 4999, 4998]) {
    const client = await admitted()
    client.socket.close(code)
    await client.closed
  }
  const text = async () => await rig.metrics.registry.metrics()
  await expect.poll(() => rig.value('berth_client_sockets_closed_total')).toBe(5)
  expect(await rig.value('berth_client_sockets_closed_total', 'code="other"')).toBe(3)
  expect(await text()).not.toContain('4999')
})

test('a request that is no handshake is refused, and a connection that is reset ends nothing', async () => {
  await open({})
  for (const head of [
    'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    `GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${'x'.repeat(22)}==\r\nSec-WebSocket-Version: 7\r\n\r\n`,
    'GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    `GET /graphql HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  ]) {
    const socket = connect(rig.http.port, '127.0.0.1')
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.on('error', () => undefined)
    socket.write(head)
    await once(socket, 'close')
    expect(answer).toMatch(/^HTTP\/1.1 4\d\d /)
    if (!head.includes('Upgrade: websocket')) continue
    const [headers = '', body = ''] = answer.split('\r\n\r\n')
    expect(JSON.parse(body)).toMatchObject({ error: { retryable: false } })
    expect(headers).toContain('application/json')
    if (head.includes('/graphql')) {
      expect(answer).toContain('BAD_INPUT')
      expect(headers).toContain('sec-websocket-version: 13')
    }
  }
  for (let i = 0; i < 20; i++) {
    const socket = connect(rig.http.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(
      'GET /other HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      () => socket.resetAndDestroy(),
    )
    await once(socket, 'close')
  }
  await admitted()
  await expect.poll(() => rig.value('berth_client_connections')).toBe(1)
})

test('on shutdown every client is told to connect elsewhere', async () => {
  await open({})
  const clients = [await admitted(), await rawClient(rig.url)]
  const stream = await fetch(`${rig.url}/graphql/stream`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: EVENTS }),
  })
  await expect.poll(() => rig.streams.length).toBe(1)
  await rig.close()
  for (const it of clients) expect((await it.closed).code).toBe(1012)
  expect(await stream.text()).not.toContain('complete')
  expect(rig.streams.length).toBe(0)
})
