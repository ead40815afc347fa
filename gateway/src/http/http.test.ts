import { getIntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { POLICIES, SEEN } from '../../test-subgraphs/subgraphs.ts'
import { LIMITS } from '../admit/limits.ts'

const OFFERS = '{ offers { nodes { available } } }'
const CREATE = `allocationCreate(input: { name: "a", gpuModel: "a100" }) { allocation { name } }`

let platform: TestPlatform
let gateway: TestGateway
let production: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway()
  production = await platform.gateway({ env: { BERTH_ENV: 'production' } })
})
afterAll(() => platform[Symbol.asyncDispose]())
beforeEach(() => platform.redis.del(SEEN))

test.each([
  ['tokens', `{ ${'__typename '.repeat(LIMITS.tokens)} }`, `more than ${LIMITS.tokens} tokens`],
  [
    'aliases',
    `{ ${Array.from({ length: 51 }, (_, i) => `a${i}: __typename`).join(' ')} }`,
    'aliases 51 (at most 50)',
  ],
  ['root fields', `{ ${'viewer { roles } '.repeat(21)} }`, 'root fields 21 (at most 20)'],
  [
    'directives',
    `{ __typename @include(if: true) viewer { ${'roles @skip(if: false) '.repeat(51)} } }`,
    'directives 52 (at most 50)',
  ],
  ['values within each other', `{ allocation(id: ${'['.repeat(100_000)}`, 'too'],
])('too many %s are refused before anyone is asked', async (_what, query, message) => {
  const { status, body } = await gateway.ask({ query })
  expect(status).toBe(400)
  expect(body.errors?.[0]).toMatchObject({ extensions: { code: 'TOO_COMPLEX' } })
  expect(body.errors?.[0]?.message).toContain(message)
  expect(await platform.seen()).toEqual([])
})

test('variables that are too large are TOO_COMPLEX, a body that is too large 413', async () => {
  const query = 'query ($id: ID!) { allocation(id: $id) { id } }'
  const large = await gateway.ask({ query, variables: { id: 'x'.repeat(LIMITS.variablesBytes) } })
  expect(large.status).toBe(400)
  expect(codes(large)).toEqual(['TOO_COMPLEX'])
  const tooLarge = await gateway.ask({ query, variables: { id: 'x'.repeat(1024 * 1024) } })
  expect(tooLarge.status).toBe(413)
  expect(codes(tooLarge)).toEqual(['TOO_LARGE'])
  const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`
  const nested = await gateway.ask(
    `{ "query": ${JSON.stringify(query)}, "variables": { "id": ${deep} } }`,
  )
  expect(nested.status).toBe(400)
  expect(codes(nested)).toEqual(['TOO_COMPLEX'])
})

test.each([
  ['no JSON', '{'],
  ['no operation', '{}'],
  ['a batch', JSON.stringify([{ query: OFFERS }, { query: OFFERS }])],
  ['a syntax error', JSON.stringify({ query: '{ offers' })],
  ['an unknown field', JSON.stringify({ query: '{ offer }' })],
  ['an unknown operation', JSON.stringify({ query: 'query A { __typename }', operationName: 'B' })],
  [
    'several operations without a name',
    JSON.stringify({ query: 'query A { __typename } query B { __typename }' }),
  ],
  [
    'a missing variable',
    JSON.stringify({ query: 'query ($id: ID!) { allocation(id: $id) { id } }' }),
  ],
  [
    'a variable of the wrong type',
    JSON.stringify({
      query: 'query ($n: Int) { offers(first: $n) { nodes { id } } }',
      variables: { n: 'x' },
    }),
  ],
  ['a subscription', JSON.stringify({ query: 'subscription { inbox { cursor } }' })],
])('%s is BAD_INPUT', async (_what, body) => {
  const answer = await gateway.ask(body)
  expect(answer.status).toBe(400)
  expect(codes(answer)).toEqual(['BAD_INPUT'])
  expect(await platform.seen()).toEqual([])
})

test('a keyed request has one root mutation field', async () => {
  const headers = { 'idempotency-key': 'key-1' }
  const two = await gateway.ask({ query: `mutation { a: ${CREATE} b: ${CREATE} }` }, headers)
  expect(two.status).toBe(400)
  expect(two.body.errors?.[0]?.message).toContain('one root mutation field, not 2')
  const spread = `mutation { ...F ...F ... { c: ${CREATE} } } fragment F on Mutation { a: ${CREATE} }`
  expect(codes(await gateway.ask({ query: spread }, headers))).toEqual(['BAD_INPUT'])
  expect(await platform.seen()).toEqual([])
  expect(
    codes(await gateway.ask({ query: `mutation { a: ${CREATE} b: ${CREATE} }` })),
  ).toBeUndefined()
  expect(codes(await gateway.ask({ query: `mutation { ${CREATE} }` }, headers))).toBeUndefined()
})

test('the rates are policy’s, by person, and of each class apart', async () => {
  await platform.redis.hset(POLICIES, 'ratelimit.query', JSON.stringify({ perMinute: 6, burst: 2 }))
  const own = await platform.gateway()
  const headers = { authorization: `Bearer ${await platform.issuer.token('user')}` }
  const statuses = []
  for (let i = 0; i < 3; i++) statuses.push((await own.ask({ query: OFFERS }, headers)).status)
  expect(statuses).toEqual([200, 200, 429])
  const refused = await own.ask({ query: OFFERS }, headers)
  expect(codes(refused)).toEqual(['RATE_LIMITED'])
  const wait = refused.body.errors?.[0]?.extensions?.retryAfterSeconds
  expect(refused.headers.get('retry-after')).toBe(String(wait))
  expect(wait).toBeGreaterThan(0)
  expect(wait).toBeLessThanOrEqual(10)

  // Two gateways share the count; another person, and another class, have their own.
  expect((await gateway.ask({ query: OFFERS }, headers)).status).toBe(429)
  const colleague = { authorization: `Bearer ${await platform.issuer.token('colleague')}` }
  expect((await own.ask({ query: OFFERS }, colleague)).status).toBe(200)
  expect((await own.ask({ query: `mutation { ${CREATE} }` }, headers)).status).toBe(200)

  // And a connection has no other budget than a request.
  const client = own.connect(headers)
  await expect(client.iterate({ query: OFFERS }).next()).rejects.toMatchObject([
    { extensions: { code: 'RATE_LIMITED' } },
  ])
  await client.dispose()
  await platform.redis.hdel(POLICIES, 'ratelimit.query')
})

test('in production the schema is shown to operators, and not told by the way', async () => {
  const query = getIntrospectionQuery()
  const hidden = await production.ask({ query })
  expect(hidden.status).toBe(403)
  expect(codes(hidden)).toEqual(['FORBIDDEN'])
  const inFragment = '{ ...F } fragment F on Query { x: __type(name: "Node") { name } }'
  expect(codes(await production.ask({ query: inFragment }))).toEqual(['FORBIDDEN'])
  const operator = { authorization: `Bearer ${await platform.issuer.token('operator')}` }
  expect((await production.ask({ query }, operator)).body.data?.__schema).toBeTruthy()
  expect((await gateway.ask({ query })).body.data?.__schema).toBeTruthy()

  const guess = { query: '{ ofers { nodes { id } } }' }
  expect((await production.ask(guess)).body.errors?.[0]?.message).not.toContain('offers')
  expect((await gateway.ask(guess)).body.errors?.[0]?.message).toContain('offers')
  const client = production.connect()
  const refusal = await client
    .iterate(guess)
    .next()
    .catch((errors: unknown) => errors)
  expect(JSON.stringify(refusal)).toContain('Cannot query')
  expect(JSON.stringify(refusal)).not.toContain('offers')
  await client.dispose()
})

test('a page of an allowed origin may read, of another not', async () => {
  const preflight = await fetch(`${gateway.http.url}/graphql`, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.test', 'access-control-request-method': 'POST' },
  })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.test')
  expect(preflight.headers.get('access-control-allow-headers')).toContain('idempotency-key')
  const own = await gateway.ask({ query: OFFERS }, { origin: 'https://app.test' })
  expect(own.headers.get('access-control-allow-origin')).toBe('https://app.test')
  const foreign = await gateway.ask({ query: OFFERS }, { origin: 'https://evil.test' })
  expect(foreign.headers.get('access-control-allow-origin')).toBeNull()
  expect(foreign.headers.get('vary')).toBe('Origin')
})

test('what a form of another page can send is refused', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
    const answer = await gateway.ask({ query: `mutation { ${CREATE} }` }, { 'content-type': type })
    expect(answer.status).toBe(400)
  }
  const get = await fetch(`${gateway.http.url}/graphql?query=${encodeURIComponent(OFFERS)}`)
  expect(get.status).toBe(400)
  expect(await platform.seen()).toEqual([])
})

test('a query may come by GET with a header that no form sends; a mutation may not', async () => {
  const headers = { 'apollo-require-preflight': '1' }
  const get = (query: string) =>
    fetch(`${gateway.http.url}/graphql?query=${encodeURIComponent(query)}`, { headers })
  expect((await get(OFFERS)).status).toBe(200)
  expect((await get(`mutation { ${CREATE} }`)).status).toBe(405)
  expect(await platform.seen()).toEqual([])
})

test('a person who looks at the address gets a page that loads nothing from elsewhere', async () => {
  const response = await fetch(`${gateway.http.url}/graphql`, { headers: { accept: 'text/html' } })
  expect(response.status).toBe(200)
  expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
  const html = await response.text()
  expect(html).toContain('graphql-transport-ws')
  expect(html).not.toMatch(/(src|href)=|https?:\/\//)
  const program = await fetch(`${gateway.http.url}/graphql`)
  expect(program.status).toBe(405)
  expect(program.headers.get('allow')).toContain('POST')
})

test('it is ready when the whole platform is, and says who is not', async () => {
  expect((await fetch(`${gateway.http.url}/readyz`)).status).toBe(200)
  await platform.stop('inventory')
  const response = await fetch(`${gateway.http.url}/readyz`)
  const body = await response.json()
  await platform.start('inventory')
  expect(response.status).toBe(503)
  expect(body).toMatchObject({ checks: { inventory: 'failed', billing: 'ok', policy: 'ok' } })
  const [own = ''] = platform.peers.inventory ?? []
  const peers = {
    ...platform.peers,
    inventory: ['http://127.0.0.1:1', own],
    terminal: ['http://127.0.0.1:1'],
  }
  const replicated = await platform.gateway({ env: { BERTH_PEERS: peers } })
  const checks = await (await fetch(`${replicated.http.url}/readyz`)).json()
  expect(checks).toMatchObject({ checks: { inventory: 'ok', terminal: 'failed' } })
  expect((await fetch(`${replicated.http.url}/healthz`)).status).toBe(200)
})

test('what happened is in the metrics', async () => {
  const text = await (await fetch(`${gateway.http.url}/metrics`)).text()
  expect(text).toContain('berth_graphql_operations_total')
  expect(text).toMatch(/berth_subgraph_request_duration_seconds_count\{.*subgraph="inventory".*\}/)
})

function codes({
  body,
}: {
  body: { errors?: readonly { extensions?: Record<string, unknown> }[] }
}) {
  return body.errors?.map((it) => it.extensions?.code)
}
