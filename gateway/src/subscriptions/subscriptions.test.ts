import { actorToClaims } from '@berth/platform/actor'
import type { AssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { createServiceJwtSigner } from '@berth/platform/service-jwt'
import { loadKeys } from '@berth/platform/trusted-keys'
import type { Client, SubscribePayload } from 'graphql-ws'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { EVENTS, PEOPLE, SEEN } from '../../test-subgraphs/subgraphs.ts'

const UPDATES = `subscription ($after: String) {
  allocationUpdated(after: $after) { cursor event { sequence } allocation { id cost { amount } } }
}`

let platform: TestPlatform
let gateway: TestGateway
let authorization: string
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway()
  authorization = `Bearer ${await platform.issuer.token('user')}`
})
afterAll(() => platform[Symbol.asyncDispose]())
beforeEach(() => platform.redis.del(EVENTS, SEEN))

test('each event is hydrated across subgraphs, and in order, whichever hydration is slow', async () => {
  const stream = await open(gateway, { query: UPDATES })
  const ids = Array.from({ length: 40 }, (_, i) => (i % 3 === 0 ? `alc_${i}_late` : `alc_${i}`))
  await platform.publish(...ids)
  const events = await stream.take(ids.length)
  expect(events.map((it) => it.data.allocationUpdated)).toEqual(
    ids.map((id, i) => ({
      cursor: expect.any(String),
      event: { sequence: i + 1 },
      allocation: { id, cost: { amount: '1.50' } },
    })),
  )
  await stream.end()
})

test('the answer is what was asked for and nothing of the gateway’s', async () => {
  const stream = await open(gateway, {
    query:
      'subscription { x: allocationUpdated { allocation { ...A } } } fragment A on Allocation { key: id }',
  })
  await platform.publish('alc_1')
  expect(await stream.take(1)).toEqual([{ data: { x: { allocation: { key: 'alc_1' } } } }])
  await stream.end()
})

test('owner and hydration see no person when the operation’s authority is the organization', async () => {
  const stream = await open(gateway, { query: UPDATES })
  await platform.publish('alc_1')
  await stream.take(1)
  const seen = await platform.seen()
  expect(seen.map((it) => it.field)).toEqual(['allocationUpdated', 'cost'])
  for (const { claims } of seen) {
    expect(claims).toMatchObject({ kind: 'person', authority: 'ORGANIZATION', roles: ['member'] })
    expect(claims).not.toHaveProperty('sub')
  }
  await stream.end()

  const inbox = await open(
    gateway,
    { query: 'subscription { inbox { counts { unseen } } }' },
    'inbox',
  )
  const [own] = (await platform.seen()).filter((it) => it.field === 'inbox')
  expect(own?.claims).toMatchObject({ authority: 'PERSON', sub: expect.any(String) })
  await inbox.end()
})

test('a subgraph that is away for a moment costs events time, and no fields', async () => {
  const stream = await open(gateway, { query: UPDATES })
  await platform.without('billing', async () => {
    await platform.publish('alc_1', 'alc_2')
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await platform.redis.llen(EVENTS)).toBe(2)
  })
  await platform.publish('alc_3')
  expect((await stream.take(3)).map((it) => it.data.allocationUpdated?.allocation)).toEqual(
    [1, 2, 3].map((n) => ({ id: `alc_${n}`, cost: { amount: '1.50' } })),
  )
  await stream.end()
})

test('assertions that end in seconds: the client does not notice, and nothing is lost', async () => {
  const own = await platform.gateway({ signer: shortLived(2) })
  const stream = await open(own, { query: UPDATES })
  const total = 120
  const published = (async () => {
    for (let n = 1; n <= total; n++) {
      await platform.publish(`alc_${n}`)
      await new Promise((resolve) => setTimeout(resolve, 40))
    }
  })()
  const events = await stream.take(total)
  await published
  expect(events.map(sequenceOf)).toEqual(Array.from({ length: total }, (_, i) => i + 1))
  expect(events.every((it) => !('errors' in it))).toBe(true)
  expect(await count('allocationUpdated')).toBeGreaterThanOrEqual(3)
  await stream.end()
})

test('roles that were taken away are gone from operations and streams of an open connection', async () => {
  const [organizationId = ''] = Object.keys(PEOPLE.user?.organizations ?? {})
  const others = { org_01h455vb4pex5vsknk084sn02r: ['owner'] }
  let connections = 0
  const client = gateway.connect({ authorization }, { connected: () => void connections++ })
  // Keeps the connection.
  const ticks = client.iterate({ query: 'subscription { ticks { number } }' })
  const ticking = ticks.next().catch(() => undefined)
  const ask = () =>
    client
      .iterate({ query: '{ viewer { roles } }' })
      .next()
      .then(
        ({ value }) => value?.data?.viewer,
        (errors) => errors[0].extensions.code,
      )
  const stream = await open(gateway, { query: UPDATES })
  await platform.publish('alc_1')
  await stream.take(1)
  try {
    expect(await ask()).toEqual({ roles: ['member'] })
    await platform.change('user', { ...others, [organizationId]: ['viewer'] })
    await expect.poll(ask).toEqual({ roles: ['viewer'] })
    const claims = async () =>
      (await platform.seen()).filter((it) => it.field === 'allocationUpdated').at(-1)?.claims
    await expect.poll(claims).toMatchObject({ roles: ['viewer'] })
    // The stream goes on as of who they are by now, without a gap.
    await platform.publish('alc_2')
    expect((await stream.take(1)).map(sequenceOf)).toEqual([2])
    expect(connections).toBe(1)
    // And is not served as of the other organization, which is the person's first one now.
    await platform.change('user', others)
    await expect(stream.take(1)).rejects.toMatchObject([{ extensions: { code: 'FORBIDDEN' } }])
  } finally {
    await platform.change('user', undefined)
  }
  await stream.end().catch(() => undefined)
  await client.dispose()
  await ticking
})

test('a hydration that fails is an error at its field, and the stream goes on', async () => {
  const own = await platform.gateway({ streamLimits: { hydrateWithinMs: 200 } })
  const stream = await open(own, { query: UPDATES })
  await platform.without('billing', async () => {
    await platform.publish('alc_1')
    const [failed] = await stream.take(1)
    expect(failed).toEqual({
      data: null,
      errors: [
        {
          message: expect.any(String),
          path: ['allocationUpdated', 'allocation', 'cost'],
          extensions: {
            code: 'UPSTREAM_UNAVAILABLE',
            requestId: expect.any(String),
            retryable: true,
          },
        },
      ],
    })
  })
  await platform.publish('alc_2')
  const [next] = await stream.take(1)
  expect(next?.data.allocationUpdated?.allocation).toEqual({
    id: 'alc_2',
    cost: { amount: '1.50' },
  })
  await stream.end()
})

test('a client resumes after its own cursor', async () => {
  const first = await open(gateway, { query: UPDATES })
  await platform.publish('alc_1', 'alc_2', 'alc_3')
  const [, second] = await first.take(3)
  await first.end()
  const after = second?.data.allocationUpdated?.cursor
  const resumed = await open(gateway, { query: UPDATES, variables: { after } })
  await platform.publish('alc_4')
  expect((await resumed.take(2)).map(sequenceOf)).toEqual([3, 4])
  await resumed.end()
})

test.each([
  [
    'the owner refuses',
    'subscription { allocationUpdated(allocationId: "refused") { cursor } }',
    'FORBIDDEN',
  ],
  [
    'whose cursor is no cursor',
    'subscription { allocationUpdated(after: "x") { cursor } }',
    'BAD_INPUT',
  ],
  ['that is not valid', 'subscription { allocationUpdated { nothing } }', 'BAD_INPUT'],
  [
    'whose variables do not fit',
    'subscription ($id: ID!) { allocationUpdated(allocationId: $id) { cursor } }',
    'BAD_INPUT',
  ],
  [
    'with a condition on its field',
    'subscription ($no: Boolean!) { allocationUpdated @skip(if: $no) { cursor } }',
    'BAD_INPUT',
  ],
  [
    'with too many aliases',
    `subscription { ticks { ${Array.from({ length: 51 }, (_, i) => `a${i}: number`).join(' ')} } }`,
    'TOO_COMPLEX',
  ],
  [
    'without a name among several',
    'subscription A { ticks { number } } subscription B { ticks { number } }',
    'BAD_INPUT',
  ],
  ['of too many tokens', `subscription { ticks { ${'number '.repeat(2_000)} } }`, 'TOO_COMPLEX'],
])(
  'one %s is refused through the translator, and the connection stays',
  async (_what, query, code) => {
    const client = gateway.connect({ authorization })
    await expect(client.iterate({ query }).next()).rejects.toMatchObject([
      { extensions: { code, requestId: expect.any(String) } },
    ])
    const { value } = await client.iterate({ query: '{ __typename }' }).next()
    expect(value).toEqual({ data: { __typename: 'Query' } })
    await client.dispose()
  },
)

test('an anonymous caller gets the subgraph’s own refusal', async () => {
  const client = gateway.connect()
  await expect(client.iterate({ query: UPDATES }).next()).rejects.toMatchObject([
    { extensions: { code: 'UNAUTHENTICATED' } },
  ])
  await client.dispose()
})

test('queries and keyed mutations run over the same connection, through the same admit', async () => {
  const client = gateway.connect({ authorization })
  const create = 'allocationCreate(input: { name: "a", gpuModel: "a100" }) { allocation { name } }'
  const extensions = { idempotencyKey: 'key-1' }
  const { value } = await client.iterate({ query: `mutation { ${create} }`, extensions }).next()
  expect(value).toEqual({ data: { allocationCreate: { allocation: { name: 'a' } } } })
  expect(await platform.seen()).toMatchObject([{ idempotencyKey: 'key-1' }])
  const two = client.iterate({ query: `mutation { a: ${create} b: ${create} }`, extensions }).next()
  await expect(two).rejects.toMatchObject([{ extensions: { code: 'BAD_INPUT' } }])
  const masked = await client.iterate({ query: '{ allocation(id: "boom") { id } }' }).next()
  expect(JSON.stringify(masked.value)).not.toContain('secret')
  expect(masked.value).toMatchObject({
    errors: [{ path: ['allocation'], extensions: { code: 'INTERNAL' } }],
  })
  await client.dispose()
})

test('an owner that is down when a client subscribes is UPSTREAM_UNAVAILABLE', async () => {
  await platform.without('allocations', async () => {
    const client = gateway.connect({ authorization })
    await expect(client.iterate({ query: UPDATES }).next()).rejects.toMatchObject([
      { extensions: { code: 'UPSTREAM_UNAVAILABLE', retryable: true } },
    ])
    await client.dispose()
  })
})

test('the owner restarts while streaming: nothing is missing, nothing comes twice', async () => {
  const withCursor = await open(gateway, { query: UPDATES })
  const query = 'subscription { allocationUpdated { event { sequence } } }'
  const without = await open(gateway, { query }, 'allocationUpdated', 2)
  const total = 60
  const published = (async () => {
    for (let n = 1; n <= total; n++) await platform.publish(`alc_${n}`)
  })()
  await withCursor.take(5).then((events) => expect(events.map(sequenceOf)).toEqual([1, 2, 3, 4, 5]))
  await platform.without('allocations', () => published)
  const expected = Array.from({ length: total }, (_, i) => i + 1)
  expect((await withCursor.take(total - 5)).map(sequenceOf)).toEqual(expected.slice(5))
  expect((await without.take(total)).map(sequenceOf)).toEqual(expected)
  await withCursor.end()
  await without.end()
})

test('a stream without positions goes on after a restart with what comes then', async () => {
  const stream = await open(gateway, { query: 'subscription { ticks { number } }' }, null)
  await until(async () => {
    await platform.tick(1)
    expect(stream.received.length).toBeGreaterThan(0)
  })
  await platform.without('allocations', async () => undefined)
  await until(async () => {
    await platform.tick(2)
    expect(stream.received.at(-1)).toEqual({ data: { ticks: { number: 2 } } })
  })
  await stream.end()
})

test('two gateways over two replicas serve the same sequence, though one of each goes', async () => {
  const stopReplica = await platform.startReplica('allocations')
  const gateways = [await platform.gateway(), await platform.gateway()] as const
  const streams: Awaited<ReturnType<typeof open>>[] = []
  // Two operations at each gateway, which are two streams: one to each replica.
  const same = 'subscription Same { allocationUpdated { event { sequence } } }'
  for (const [n, query] of [UPDATES, UPDATES, same, same].entries()) {
    const gateway = gateways[n % 2] as TestGateway
    streams.push(await open(gateway, { query }, 'allocationUpdated', n + 1))
  }
  const take = (n: number, of = streams) =>
    Promise.all(of.map(async (it) => (await it.take(n)).map(sequenceOf)))
  await platform.publish(...Array.from({ length: 20 }, (_, i) => `alc_${i}`))
  const expected = Array.from({ length: 40 }, (_, i) => i + 1)
  expect(await take(20)).toEqual(streams.map(() => expected.slice(0, 20)))

  const published = platform.publish(...Array.from({ length: 20 }, (_, i) => `alc_${20 + i}`))
  await stopReplica()
  await published
  expect(await take(20)).toEqual(streams.map(() => expected.slice(20)))

  await gateways[1].close()
  await platform.publish('alc_40')
  const left = [streams[0], streams[2]].filter((it) => it !== undefined)
  expect(await take(1, left)).toEqual([[41], [41]])
  for (const stream of streams) await stream.end()
})

test('who may be answered alike shares one subscription, and it leaves nothing behind', async () => {
  const own = await platform.gateway()
  const streams = []
  for (let n = 0; n < 5; n++) streams.push(await open(own, { query: UPDATES }))
  const upstream = () => metric(own, 'berth_upstream_subscriptions')
  expect(await upstream()).toBe(1)
  expect(await count('allocationUpdated')).toBe(1)
  await platform.publish('alc_1', 'alc_2')
  for (const stream of streams) expect((await stream.take(2)).map(sequenceOf)).toEqual([1, 2])
  expect(await metric(own, 'berth_stream_hydrations_total')).toBe(2)
  for (const stream of streams) await stream.end()
  await expect.poll(upstream).toBe(0)
})

test('two of one organization, one of them revoked, the owner restarted: the other one misses nothing', async () => {
  const colleague = `Bearer ${await platform.issuer.token('colleague')}`
  const own = await platform.gateway()
  const one = await open(own, { query: UPDATES })
  const other = await open(own, { query: UPDATES }, 'allocationUpdated', 1, colleague)
  expect(await count('allocationUpdated')).toBe(1)
  await platform.publish('alc_1', 'alc_2')
  expect((await one.take(2)).map(sequenceOf)).toEqual([1, 2])
  const [, last] = await other.take(2)
  try {
    await platform.change('colleague', {})
    await expect(other.take(1)).rejects.toMatchObject([{ extensions: { code: 'FORBIDDEN' } }])
    await platform.without('allocations', () => platform.publish('alc_3', 'alc_4'))
    await platform.publish('alc_5')
    expect((await one.take(3)).map(sequenceOf)).toEqual([3, 4, 5])
  } finally {
    await platform.change('colleague', undefined)
  }
  // Back again, with the cursor of before; and the other one by a connection of its own.
  const after = last?.data.allocationUpdated?.cursor
  const resumed = [
    await open(own, { query: UPDATES, variables: { after } }, 'allocationUpdated', 1, colleague),
    await open(own, { query: UPDATES, variables: { after } }),
  ]
  await platform.without('allocations', () => platform.publish('alc_6'))
  for (const stream of resumed) {
    expect((await stream.take(4)).map(sequenceOf)).toEqual([3, 4, 5, 6])
  }
  expect((await one.take(1)).map(sequenceOf)).toEqual([6])
  await expect.poll(() => metric(own, 'berth_upstream_subscriptions')).toBe(1)
  for (const stream of [one, ...resumed]) await stream.end()
})

test('a client that does not read is closed with 4413, though hydration has a short queue', async () => {
  const own = await platform.gateway({ streamLimits: { maxQueued: 20 } })
  const socket = new WebSocket(
    `${own.http.url.replace('http', 'ws')}/graphql`,
    'graphql-transport-ws',
  )
  const ended = new Promise<number>((resolve) => socket.once('close', resolve))
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }))
  await new Promise((resolve) => socket.once('message', resolve))
  const filler = 'x'.repeat(1_500)
  const fields = Array.from({ length: 25 }, (_, i) => `${filler}${i}: id`).join(' ')
  const query = `subscription { allocationUpdated { allocation { ${fields} } } }`
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
  await expect.poll(async () => (await platform.seen()).length).toBe(1)
  socket.pause()
  for (let i = 0; i < 40; i++) {
    await platform.publish(...Array.from({ length: 20 }, (_, n) => `alc_${i}_${n}`))
  }
  await expect.poll(() => platform.logged.some((it) => it.includes('SLOW_CLIENT'))).toBe(true)
  socket.resume()
  expect(await ended).toBe(4413)
})

test('on shutdown clients are told to connect again, and a new one is refused', async () => {
  const own = await platform.gateway()
  const codes: number[] = []
  const client = own.connect(
    { authorization },
    { closed: (event) => codes.push((event as { code: number }).code) },
  )
  const stream = client.iterate({ query: UPDATES })
  const ended = stream.next().catch((event: unknown) => event)
  await expect.poll(async () => (await platform.seen()).length).toBe(1)
  await own.close()
  await ended
  expect(codes).toEqual([1012])
})

test.each([
  ['an allowed origin', { origin: 'https://app.test' }, 'graphql-transport-ws', '/graphql', 101],
  ['no origin', {}, 'graphql-transport-ws', '/graphql', 101],
  ['a foreign origin', { origin: 'https://evil.test' }, 'graphql-transport-ws', '/graphql', 403],
  ['the null origin', { origin: 'null' }, 'graphql-transport-ws', '/graphql', 403],
  ['another path', {}, 'graphql-transport-ws', '/other', 404],
])('a connection from %s', async (_what, headers, protocol, path, status) => {
  const socket = new WebSocket(`${gateway.http.url.replace('http', 'ws')}${path}`, protocol, {
    headers,
  })
  const answered = await new Promise<number>((resolve) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    socket.on('error', () => undefined)
  })
  socket.terminate()
  expect(answered).toBe(status)
})

test.each([
  ['a message that is none', 'x', 4400],
  [
    'a message beyond the limit',
    JSON.stringify({ type: 'ping', payload: { x: 'x'.repeat(1_100_000) } }),
    1009,
  ],
  [
    'an operation before the connection is admitted',
    '{"id":"1","type":"subscribe","payload":{"query":"{ __typename }"}}',
    4401,
  ],
])('%s closes the connection', async (_what, message, code) => {
  const socket = new WebSocket(
    `${gateway.http.url.replace('http', 'ws')}/graphql`,
    'graphql-transport-ws',
  )
  const ended = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.once('open', () => socket.send(message))
  expect(await ended).toBe(code)
})

test.each([
  ['an authorization that is no text', { authorization: { a: 1 } }, 4400],
  ['an empty authorization', { authorization: '' }, 4401],
  ['an organization that is no text', { organizationId: ['org_x'] }, 4400],
  ['an empty organization', { organizationId: '' }, 4400],
])('%s is refused, and not passed over', async (_what, params, code) => {
  const socket = new WebSocket(
    `${gateway.http.url.replace('http', 'ws')}/graphql`,
    'graphql-transport-ws',
  )
  const ended = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.once('open', () =>
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization, ...params } })),
  )
  expect(await ended).toBe(code)
})

/** The gateway's own signer, but for how long its assertions live. */
function shortLived(seconds: number): AssertionSigner {
  const { privateJwk } = loadKeys(platform.keysDir, 'gateway')
  const sign = createServiceJwtSigner({ issuer: 'gateway', privateJwk, clock: systemClock })
  return {
    sign: (actor, audience) => sign('actor+jwt', audience, actorToClaims(actor), seconds),
  }
}

function until(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, { timeout: 15_000 })
}

type Event = {
  data: Record<string, { cursor: string; event: { sequence: number }; allocation: unknown }>
}

function sequenceOf({ data }: Event): number {
  return Object.values(data)[0]?.event.sequence ?? 0
}

/** A subscription on a connection of its own, once it is part of a stream that its owner has opened. */
async function open(
  of: TestGateway,
  payload: SubscribePayload,
  field: string | null = 'allocationUpdated',
  atLeast = 1,
  as = authorization,
) {
  const before = await metric(of, OPERATIONS)
  const client: Client = of.connect({ authorization: as })
  const iterator = client.iterate(payload)
  const received: unknown[] = []
  const first = iterator.next().then((it) => {
    received.push(it.value)
    return it
  })
  let pending: Promise<IteratorResult<unknown>> | undefined = first
  await expect.poll(() => metric(of, OPERATIONS)).toBeGreaterThan(before)
  if (field) await expect.poll(() => count(field)).toBeGreaterThanOrEqual(atLeast)
  // And once more: it was seen before it was found out where the stream begins.
  await count(field)
  if (!field) void drain()
  return {
    received,
    async take(n: number): Promise<Event[]> {
      const events: Event[] = []
      while (events.length < n) {
        const { value, done } = await (pending ?? iterator.next())
        pending = undefined
        if (done) throw new Error('the stream ended')
        events.push(value as Event)
      }
      return events
    },
    async end() {
      void pending?.catch(() => undefined)
      await iterator.return?.()
      await client.dispose()
    },
  }

  async function drain(): Promise<void> {
    await first
    for await (const value of iterator) received.push(value)
  }
}

async function count(field: string | null): Promise<number> {
  return (await platform.seen()).filter((it) => it.field === field).length
}

const OPERATIONS = 'berth_graphql_operations_total'

async function metric(of: TestGateway, name: string): Promise<number> {
  const { values = [] } = (await of.metrics.registry.getSingleMetric(name)?.get()) ?? {}
  return values.reduce((sum, { value }) => sum + value, 0)
}
