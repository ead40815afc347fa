import { once } from 'node:events'
import { type Client, createClient, type SubscribePayload } from 'graphql-ws'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { type Actor, createActor, narrow } from './actor.ts'
import { createAssertionSigner } from './assertion.ts'
import { type FakeClock, fakeClock } from './clock.ts'
import { handleCommand } from './commands.ts'
import { command } from './contract.ts'
import { DomainError } from './errors.ts'
import type { HttpServer } from './http.ts'
import { newId } from './ids.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { allow, isAuthenticated, rule } from './shield.ts'
import { type SubgraphOptions, type SubgraphRequest, schemaOf, startSubgraph } from './subgraph.ts'
import { newServiceKey } from './trusted-keys.ts'

const SDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  scalar DateTime
  scalar Decimal
  type Query { who: Who! fails: String breaks: String at(time: DateTime!): DateTime bad: Int slow: Int }
  type Subscription { ticks: Int! breaks: Int never: Int guarded: Int }
  type Who { id: String org: String key: String trace: String request: String }
`

const gateway = newServiceKey('gateway')
const jwks = { keys: [gateway.publicJwk] }
const person = createActor({ kind: 'person', subject: newId('usr'), organizationId: newId('org') })

const slow = { entered: Promise.withResolvers<void>(), release: Promise.withResolvers<void>() }
const never = { returned: vi.fn() }

const resolvers = {
  Query: {
    who: (
      _root: unknown,
      _args: unknown,
      { actor, idempotencyKey, traceparent, requestId }: SubgraphRequest,
    ) => ({
      id: () => actor.subject,
      org: actor.organizationId,
      key: idempotencyKey,
      trace: traceparent,
      request: requestId,
    }),
    fails: () => {
      throw new DomainError('CONFLICT', 'It is not a draft')
    },
    breaks: () => {
      throw new Error('hunter2')
    },
    at: (_root: unknown, { time }: { time: Date }) => new Date(time.getTime() + 1000),
    bad: () => 'no number',
    slow: async () => {
      slow.entered.resolve()
      await slow.release.promise
      return 1
    },
  },
  Subscription: {
    ticks: {
      async *subscribe() {
        for (let n = 1; n <= 3; n++) yield { ticks: n }
      },
    },
    breaks: {
      async *subscribe() {
        yield { breaks: 'no number' }
        throw new Error('hunter2')
      },
    },
    guarded: { subscribe: () => ({}) },
    never: {
      subscribe: () => ({
        [Symbol.asyncIterator]() {
          return this
        },
        next: () => new Promise(() => undefined),
        return: async () => {
          never.returned()
          return { done: true, value: undefined }
        },
      }),
    },
  },
}

let scope: AsyncDisposableStack
let clock: FakeClock
let lines: string[]
beforeEach(() => {
  scope = new AsyncDisposableStack()
  clock = fakeClock(new Date())
  lines = []
  never.returned.mockClear()
})
afterEach(() => scope.disposeAsync())

async function start(change: Partial<SubgraphOptions<SubgraphRequest>> = {}): Promise<HttpServer> {
  const destination = { write: (line: string) => void lines.push(line) }
  return startSubgraph<SubgraphRequest>({
    config: {
      BERTH_SERVICE: 'inventory',
      BERTH_ENV: 'test',
      BERTH_DRAIN_SECONDS: 5,
      HOST: '127.0.0.1',
      PORT: 0,
    },
    keys: { jwks },
    log: createLog({ service: 'inventory', instance: 'inventory-1', destination }),
    metrics: createMetrics({ service: 'inventory' }),
    typeDefs: SDL,
    resolvers,
    rules: {
      Query: allow,
      Subscription: { '*': allow, guarded: rule('nobody')(() => false) },
      Who: allow,
    },
    context: (request) => ({ ...request }),
    scope,
    clock,
    ...change,
  })
}

function assertion(actor: Actor = person, audience = 'inventory', key = gateway): Promise<string> {
  return createAssertionSigner({ issuer: 'gateway', privateJwk: key.privateJwk, clock }).sign(
    actor,
    audience,
  )
}

type Answer = { data?: Record<string, unknown>; errors?: { message: string; extensions: object }[] }

async function ask(url: string, query: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'berth-actor': await assertion(), ...headers },
    body: typeof query === 'string' ? JSON.stringify({ query }) : JSON.stringify(query),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    ...(JSON.parse(text) as Answer),
  }
}

test('a resolver sees the actor, the idempotency key, the trace and the request id', async () => {
  const { url } = await start()
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const headers = { 'idempotency-key': 'k-1', 'x-request-id': 'request-0001', traceparent }
  expect((await ask(url, '{ who { id org key trace request } }', headers)).data).toEqual({
    who: {
      id: person.subject,
      org: person.organizationId,
      key: 'k-1',
      trace: traceparent,
      request: 'request-0001',
    },
  })
})

test('a resolver that reads the person of a shared actor fails, and its siblings do not', async () => {
  const { url } = await start()
  const shared = await assertion(narrow(person, 'ORGANIZATION'))
  const { data, errors } = await ask(url, '{ who { id org } }', { 'berth-actor': shared })
  expect(data).toEqual({ who: { id: null, org: person.organizationId } })
  expect(errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL' })
})

test.each<[string, string, () => Promise<string>]>([
  ['none', 'missing', async () => ''],
  ['a forged one', 'signature', () => assertion(person, 'inventory', newServiceKey('gateway'))],
  ['one for another service', 'audience', () => assertion(person, 'billing')],
  [
    'an expired one',
    'expired',
    async () => {
      const token = await assertion()
      clock.advance(120)
      return token
    },
  ],
])(
  'with %s for an assertion, nothing is executed and the status is 401, counted as %s',
  async (_case, reason, forge) => {
    const seen = vi.fn((request: SubgraphRequest) => request)
    const { url } = await start({ context: seen })
    const forged = await forge()
    for (const query of [
      '{ who { org } }',
      '{ _service { sdl } }',
      '{ __typename }',
      '{ not graphql',
    ]) {
      const answer = await ask(url, query, { 'berth-actor': forged })
      expect(answer.status).toBe(401)
      expect(answer.data).toBeUndefined()
      expect(answer.errors).toEqual([
        {
          message: 'The actor assertion is missing or not valid',
          extensions: {
            code: 'UNAUTHENTICATED',
            requestId: answer.headers.get('x-request-id'),
            retryable: false,
          },
        },
      ])
    }
    expect(seen).not.toHaveBeenCalled()
    expect(await (await fetch(`${url}/metrics`)).text()).toContain(
      `berth_assertion_refusals_total{reason="${reason}",service="inventory"} 4`,
    )
  },
)

test('errors go through the one translator, with the request’s id', async () => {
  const { url } = await start()
  const answer = await ask(url, '{ fails breaks bad who { org } }', {
    'x-request-id': 'request-0001',
  })
  expect(answer.status).toBe(200)
  const byPath = Object.fromEntries(
    (answer.errors ?? []).map((e) => [(e as unknown as { path: string[] }).path.join(), e]),
  )
  expect(byPath.fails).toMatchObject({
    message: 'It is not a draft',
    extensions: { code: 'CONFLICT', requestId: 'request-0001', retryable: false },
  })
  const masked = {
    message:
      'Something went wrong on our side. Retry, and quote request request-0001 if it persists.',
    extensions: { code: 'INTERNAL', requestId: 'request-0001', retryable: true },
  }
  expect(byPath.breaks).toMatchObject(masked)
  expect(byPath.bad).toMatchObject(masked)
  expect(answer.text).not.toMatch(/hunter2|stack/)
  expect(
    lines.filter((line) => line.includes('hunter2') && line.includes('request-0001')),
  ).toHaveLength(1)
})

test.each<[string, unknown, number]>([
  ['a syntax error', '{ who(', 400],
  ['an unknown field', '{ nope }', 400],
  [
    'a bad variable',
    { query: 'query ($t: DateTime!) { at(time: $t) }', variables: { t: 'soon' } },
    400,
  ],
  ['no query', {}, 400],
  ['a query that is no text', { query: { kind: 'Document' } }, 400],
  ['a batch', [{ query: '{ __typename }' }], 400],
])('%s is BAD_INPUT', async (_case, query, status) => {
  const { url } = await start()
  const answer = await ask(url, query)
  expect(answer.status).toBe(status)
  expect(answer.errors?.[0]?.extensions).toMatchObject({ code: 'BAD_INPUT' })
})

test('what is not JSON is refused: no JSON body, and no content type that a form can send', async () => {
  const { url } = await start()
  const post = async (body: string, type: string) => {
    const headers = { 'content-type': type, 'berth-actor': await assertion() }
    const response = await fetch(`${url}/graphql`, { method: 'POST', body, headers })
    return [response.status, ((await response.json()) as Answer).errors?.[0]?.extensions]
  }
  const refused = [400, expect.objectContaining({ code: 'BAD_INPUT' })]
  expect(await post('{', 'application/json')).toEqual(refused)
  expect(await post('{"query":"{ __typename }"}', 'text/plain')).toEqual(refused)
  expect((await fetch(`${url}/graphql?query={__typename}`)).status).toBe(404)
})

test('DateTime is wired, and in production introspection is off', async () => {
  const { url } = await start()
  expect((await ask(url, '{ at(time: "2026-01-01T00:00:00Z") }')).data).toEqual({
    at: '2026-01-01T00:00:01.000Z',
  })
  expect((await ask(url, '{ __schema { types { name } } }')).errors).toBeUndefined()
  const production = {
    BERTH_SERVICE: 'inventory',
    BERTH_ENV: 'production',
    BERTH_DRAIN_SECONDS: 0,
    HOST: '127.0.0.1',
    PORT: 0,
  } as const
  const live = await start({ config: production })
  expect((await ask(live.url, '{ __schema { types { name } } }')).errors).toHaveLength(1)
  expect((await ask(live.url, '{ _service { sdl } }')).errors).toBeUndefined()
})

test('commands are served beside the graph, and operations are counted by code', async () => {
  const Ping = command({
    name: 'slots.ping',
    owner: 'inventory',
    callers: ['allocations'],
    input: z.strictObject({}),
    output: z.strictObject({}),
  })
  const { url } = await start({ commands: [handleCommand(Ping, async () => ({}))] })
  const response = await fetch(`${url}/internal/commands/slots.ping`, {
    method: 'POST',
    body: '{}',
  })
  expect(response.status).toBe(401)
  await ask(url, '{ who { org } }')
  await ask(url, '{ fails }')
  await ask(url, '{ nope }')
  const metrics = await (await fetch(`${url}/metrics`)).text()
  for (const labels of [
    'type="query",code="OK"',
    'type="query",code="CONFLICT"',
    'type="none",code="BAD_INPUT"',
  ]) {
    expect(metrics).toContain(`berth_graphql_operations_total{${labels},service="inventory"} 1`)
  }
})

test('a resolver of no type or field is an error at start, not a field that stays null', () => {
  expect(() => schemaOf(SDL, { Query: { whoo: () => null } })).toThrow(/Query.whoo/)
  expect(() => schemaOf(SDL, { Whom: {} })).toThrow(/Whom/)
})

function subscriber(url: string): Client {
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
  })
  scope.defer(async () => void (await client.dispose()))
  return client
}

/** All that a subscription sends until it ends. */
async function collect(client: Client, payload: SubscribePayload) {
  const results: unknown[] = []
  try {
    for await (const result of client.iterate(payload)) results.push(result)
    return { results, errors: null }
  } catch (errors) {
    return { results, errors: errors as { message: string; extensions: Record<string, unknown> }[] }
  }
}

test('a subscription runs under the assertion of its own subscribe message', async () => {
  const { url } = await start({
    rules: { Query: allow, Who: allow, Subscription: isAuthenticated },
  })
  const client = subscriber(url)
  const good = { query: 'subscription { ticks }', extensions: { berthActor: await assertion() } }
  const bad = {
    query: 'subscription { ticks }',
    extensions: { berthActor: await assertion(person, 'billing') },
  }
  const [first, second, none] = await Promise.all([
    collect(client, good),
    collect(client, bad),
    collect(client, { query: 'subscription { ticks }' }),
  ])
  expect(first.results).toEqual([1, 2, 3].map((ticks) => ({ data: { ticks } })))
  for (const { results, errors } of [second, none]) {
    expect(results).toEqual([])
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'UNAUTHENTICATED', retryable: false })
  }
})

test('an assertion that expired since is not good for one more subscription on the same socket', async () => {
  const { url } = await start()
  const client = subscriber(url)
  const payload = { query: 'subscription { ticks }', extensions: { berthActor: await assertion() } }
  expect((await collect(client, payload)).errors).toBeNull()
  clock.advance(120)
  expect((await collect(client, payload)).errors?.[0]?.extensions).toMatchObject({
    code: 'UNAUTHENTICATED',
  })
})

test('one that is open ends soon after its assertion, and goes on with a new one', async () => {
  const seen: SubgraphRequest[] = []
  const { url } = await start({
    context: (request) => {
      seen.push(request)
      return { ...request }
    },
  })
  const signedAt = clock.now().getTime()
  const berthActor = await assertion()
  // Of the verifier's tolerance, so that a part of the grace is over too.
  clock.advance(63.9)
  const openedAt = performance.now()
  const payload = { query: 'subscription { never }', extensions: { berthActor } }
  const { results, errors } = await collect(subscriber(url), payload)
  expect(results).toEqual([])
  expect(errors?.[0]?.extensions).toMatchObject({ code: 'UNAVAILABLE', retryable: true })
  expect(performance.now() - openedAt).toBeGreaterThan(4_000)
  expect(never.returned).toHaveBeenCalledOnce()
  expect(seen[0]?.expiresAt.getTime()).toBe(Math.floor(signedAt / 1000) * 1000 + 60_000)
  const renewed = { query: 'subscription { ticks }', extensions: { berthActor: await assertion() } }
  expect((await collect(subscriber(url), renewed)).errors).toBeNull()
}, 20_000)

test.each([
  ['a syntax error', 'subscription {', 'BAD_INPUT'],
  ['an unknown field', 'subscription { nope }', 'BAD_INPUT'],
  ['a query, which would pass by the limits of HTTP', '{ who { org } }', 'BAD_INPUT'],
  ['two root fields', 'subscription { ticks never }', 'BAD_INPUT'],
  ['a guarded field', 'subscription { guarded }', 'FORBIDDEN'],
])('%s is refused on a socket', async (_case, query, code) => {
  const { url } = await start()
  const extensions = { berthActor: await assertion(), requestId: 'request-0001' }
  const { results, errors } = await collect(subscriber(url), { query, extensions })
  expect(results).toEqual([])
  expect(errors?.[0]?.extensions).toMatchObject({ code, requestId: 'request-0001' })
})

test('errors of events and of the stream itself are masked', async () => {
  const { url } = await start()
  const extensions = { berthActor: await assertion() }
  const outcome = await collect(subscriber(url), { query: 'subscription { breaks }', extensions })
  expect(outcome.results).toMatchObject([
    { data: { breaks: null }, errors: [{ path: ['breaks'], extensions: { code: 'INTERNAL' } }] },
  ])
  expect(outcome.errors?.[0]?.extensions).toMatchObject({ code: 'INTERNAL' })
  expect(JSON.stringify(outcome)).not.toContain('hunter2')
})

function rawSocket(url: string, protocol = 'graphql-transport-ws') {
  return new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocol)
}

test('draining closes sockets with 1001, ends their iterators, and finishes what is in flight', async () => {
  const { url } = await start()
  const socket = rawSocket(url)
  await once(socket, 'open')
  socket.send('{"type":"connection_init"}')
  await once(socket, 'message')
  const payload = { query: 'subscription { never }', extensions: { berthActor: await assertion() } }
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }))
  const inFlight = ask(url, '{ slow }')
  await slow.entered.promise
  const metrics = async () => (await fetch(`${url}/metrics`)).text()
  await expect.poll(metrics).toContain('{type="subscription",code="OK",service="inventory"} 1')

  const closed = once(socket, 'close')
  const disposed = scope.disposeAsync()
  expect((await closed)[0]).toBe(1001)
  await expect.poll(() => never.returned.mock.calls.length).toBe(1)
  slow.release.resolve()
  expect((await inFlight).data).toEqual({ slow: 1 })
  await disposed
  await expect(fetch(url)).rejects.toThrow()
})

test('an upgrade anywhere else is refused', async () => {
  const { url } = await start()
  const socket = new WebSocket(`${url.replace('http', 'ws')}/elsewhere`, 'graphql-transport-ws')
  const [error] = await once(socket, 'error')
  expect(String(error)).toContain('404')
})
