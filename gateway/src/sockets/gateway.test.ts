import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { EVENTS, SEEN } from '../../test-subgraphs/subgraphs.ts'
import { type Message, type RawClient, rawClient } from './faces.test-kit.ts'

const UPDATES = `subscription ($after: String) {
  allocationUpdated(after: $after) { cursor event { sequence } allocation { id cost { amount } } }
}`

let platform: TestPlatform
let gateway: TestGateway
let authorization: string
/** One who does all well: whatever others do on this gateway, nothing is missing there. */
let bystander: RawClient
let published = 0
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway()
  authorization = `Bearer ${await platform.issuer.token('user')}`
})
afterAll(() => platform[Symbol.asyncDispose]())
beforeEach(async () => {
  published = 0
  await platform.redis.del(EVENTS, SEEN)
  bystander = await admitted({ authorization })
  bystander.subscribe('own', UPDATES)
  await expect.poll(async () => (await platform.seen()).length).toBeGreaterThan(0)
})
afterEach(async () => {
  await publish(2)
  await expect.poll(() => sequencesOf(bystander.received).length).toBe(published)
  expect(sequencesOf(bystander.received)).toEqual(upTo(published))
  bystander.socket.close()
  await bystander.closed
  await expect.poll(() => value('berth_client_sockets')).toBe(0)
  await expect.poll(() => value('berth_upstream_subscriptions')).toBe(0)
  for (const name of ['operations', 'connections', 'event_streams', 'event_stream_operations']) {
    expect(await value(`berth_client_${name}`)).toBe(0)
  }
  expect(await value('berth_standings')).toBe(0)
})

async function admitted(payload: Record<string, unknown>): Promise<RawClient> {
  const client = await rawClient(gateway.http.url)
  await client.init(payload)
  return client
}

async function publish(n: number): Promise<void> {
  const from = published
  published += n
  await platform.publish(...Array.from({ length: n }, (_, i) => `alc_${from + i + 1}`))
}

async function value(name: string): Promise<number> {
  const text = await gateway.metrics.registry.metrics()
  const lines = text.split('\n').filter((it) => it.startsWith(`${name}{`))
  return lines.reduce((sum, it) => sum + Number(it.split(' ').at(-1)), 0)
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

type Update = { data: { allocationUpdated: { cursor: string; event: { sequence: number } } } }

const updatesOf = (received: Message[]) =>
  received.filter((it) => it.type === 'next').map((it) => it.payload as Update)
const sequencesOf = (received: Message[]) =>
  updatesOf(received).map((it) => it.data.allocationUpdated.event.sequence)

test('an operation that is wrong gets its code, and what to do, over a socket as over HTTP', async () => {
  const client = await admitted({ authorization })
  const deep = `${'{ allocation '.repeat(14)}{ id }${' }'.repeat(14)}`
  for (const [payload, code] of [
    [{ query: '{ offers' }, 'BAD_INPUT'],
    [{ query: '{ offer }' }, 'BAD_INPUT'],
    [{ query: 'query A { __typename }', operationName: 'B' }, 'BAD_INPUT'],
    [{ query: 'query ($id: ID!) { allocation(id: $id) { id } }' }, 'BAD_INPUT'],
    [
      { query: 'query ($id: ID!) { allocation(id: $id) { id } }', variables: { id: {} } },
      'BAD_INPUT',
    ],
    [
      { query: `{ ${Array.from({ length: 51 }, (_, i) => `a${i}: __typename`).join(' ')} }` },
      'TOO_COMPLEX',
    ],
    [{ query: `{ ${'__typename '.repeat(3_000)} }` }, 'TOO_COMPLEX'],
    [{ query: deep }, 'BAD_INPUT'],
    [{ query: '{ __typename }', variables: { x: 'x'.repeat(70_000) } }, 'TOO_COMPLEX'],
  ] as const) {
    client.send({ id: '1', type: 'subscribe', payload })
    const { type, payload: errors } = await client.next()
    expect({ type, errors }).toEqual({
      type: 'error',
      errors: expect.arrayContaining([
        expect.objectContaining({
          message: expect.stringMatching(/.{10}/),
          extensions: expect.objectContaining({ code, requestId: expect.any(String) }),
        }),
      ]),
    })
  }
  client.subscribe('1', '{ __typename }')
  expect((await client.next()).payload).toEqual({ data: { __typename: 'Query' } })
  client.socket.close()
  await client.closed
})

test('a credential that has expired, or was never one, is 4401; it expires while connected, too', async () => {
  for (const token of [
    'nonsense',
    await platform.issuer.token('user', { expiresIn: -120 }),
    await platform.issuer.token('nobody'),
  ]) {
    const client = await rawClient(gateway.http.url)
    client.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })
    expect((await client.closed).code).toBe(4401)
  }
  const short = await platform.issuer.token('user', { expiresIn: 2 })
  const client = await admitted({ authorization: `Bearer ${short}` })
  client.subscribe('1', UPDATES)
  client.subscribe('2', 'subscription { ticks { number } }')
  expect((await client.closed).code).toBe(4401)
  const ends = client.received.filter((it) => it.type === 'error')
  expect(ends.map((it) => it.id).sort()).toEqual(['1', '2'])
  for (const { payload } of ends) {
    expect(payload).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
  }
})

test('the limits of connections are configured', async () => {
  const own = await platform.gateway({ env: { BERTH_CONNECTIONS_PER_ACTOR: 1 } })
  const first = await rawClient(own.http.url)
  await first.init({ authorization })
  const second = await rawClient(own.http.url)
  second.send({ type: 'connection_init', payload: { authorization } })
  expect((await second.closed).code).toBe(4417)
  first.socket.close()
  await first.closed
})

test('hostile clients are closed, and nobody else notices', async () => {
  const acts: [number, (it: RawClient) => void][] = [
    [4400, (it) => it.send('}')],
    [4400, (it) => it.socket.send(Buffer.alloc(100))],
    [1009, (it) => it.send('x'.repeat(10_000_000))],
    [1007, (it) => it.socket.send(Buffer.from([0xff, 0xfe]), { binary: false })],
    [4429, (it) => it.send({ type: 'connection_init' })],
    [4409, (it) => [1, 2].forEach(() => void it.subscribe('1', UPDATES))],
    [1006, (it) => it.socket.terminate()],
    [4417, (it) => upTo(2_000).forEach(() => void it.send({ type: 'ping' }))],
  ]
  for (const [code, act] of acts) {
    await publish(1)
    const client = await admitted({ authorization })
    client.subscribe('0', UPDATES)
    act(client)
    await publish(1)
    expect((await client.closed).code).toBe(code)
  }
})

test('rapid pairs of subscribe and complete leave no upstream behind', async () => {
  // Most of them are refused for their rate, which is the person's: not the bystander's.
  const colleague = await platform.issuer.token('colleague')
  const client = await admitted({ authorization: `Bearer ${colleague}` })
  for (let i = 0; i < 400; i++) {
    client.subscribe(`${i}`, UPDATES)
    client.send({ id: `${i}`, type: 'complete' })
    if (i % 40 === 0) await publish(1)
  }
  client.send({ type: 'ping' })
  await expect.poll(() => client.received.at(-1)).toEqual({ type: 'pong' })
  await expect.poll(() => value('berth_client_operations')).toBe(1)
  await expect.poll(() => value('berth_upstream_subscriptions')).toBe(1)
  client.socket.close()
  await client.closed
})

test('a connection that is closed while its event is hydrated says no more of it', async () => {
  const client = await admitted({ authorization })
  client.subscribe('1', UPDATES)
  await expect.poll(async () => value('berth_client_operations')).toBe(2)
  await platform.publish('alc_late')
  published++
  client.socket.terminate()
  await client.closed
  await expect.poll(() => sequencesOf(bystander.received).length).toBe(1)
})

test('the owner is lost and returns: a stream over a raw socket has every event once', async () => {
  const client = await admitted({ authorization })
  client.subscribe('1', UPDATES)
  await publish(3)
  await expect.poll(() => sequencesOf(client.received).length).toBe(3)
  await platform.without('allocations', () => publish(5))
  await expect.poll(() => sequencesOf(client.received).length).toBe(8)
  expect(sequencesOf(client.received)).toEqual(upTo(8))
  client.socket.close()
  await client.closed
})

test('over server-sent events a client resumes after its last cursor: every event, once', async () => {
  const received: Update[] = []
  let after: string | undefined
  const connectionCount = 4
  for (let i = 0; i < connectionCount; i++) {
    const isLast = i === connectionCount - 1
    const control = new AbortController()
    const response = await fetch(`${gateway.http.url}/graphql/stream`, {
      method: 'POST',
      headers: {
        authorization,
        'content-type': 'application/json',
        accept: 'text/event-stream',
      },
      body: JSON.stringify({ query: UPDATES, variables: { after } }),
      signal: control.signal,
    })
    expect(response.status).toBe(200)
    // While nobody is connected, too.
    const before = received.length
    const publishing = publish(10)
    let text = ''
    const wanted = isLast ? published : before + 4
    try {
      for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        text += chunk
        const parts = text.split('\n\n')
        text = parts.pop() ?? ''
        for (const part of parts) {
          const data = /^event: next\ndata: (.*)$/.exec(part)?.[1]
          if (data && received.length < wanted) received.push(JSON.parse(data) as Update)
        }
        if (received.length >= wanted) break
      }
    } catch (error) {
      if (!control.signal.aborted) throw error
    }
    control.abort()
    await publishing
    after = received.at(-1)?.data.allocationUpdated.cursor
  }
  expect(received.map((it) => it.data.allocationUpdated.event.sequence)).toEqual(upTo(published))
})
