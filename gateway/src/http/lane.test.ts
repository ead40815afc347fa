import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { getIntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { POLICIES } from '../../test-subgraphs/subgraphs.ts'

const CREATE = 'allocationCreate(input: { name: $name, gpuModel: "a100" }) { allocation { name } }'
const DOCUMENTS = {
  offers: '{ offers { nodes { available gpuModel { name pricePerHour { amount } } } } }',
  allocation: 'query ($id: ID!) { allocation(id: $id) { id cost { amount } } viewer { roles } }',
  several: 'query A { __typename } query B { viewer { roles } }',
  create: `mutation ($name: String!) { ${CREATE} }`,
  createTwice: `mutation ($name: String!) { a: ${CREATE} b: ${CREATE} }`,
  inbox: 'subscription { inbox { cursor } }',
  aliases: `{ ${Array.from({ length: 51 }, (_, i) => `a${i}: __typename`).join(' ')} }`,
  schema: getIntrospectionQuery(),
}
type Name = keyof typeof DOCUMENTS

const directory = mkdtempSync(path.join(tmpdir(), 'lane-'))
const manifest = path.join(directory, 'manifest.json')
let platform: TestPlatform
let gateway: TestGateway
let production: TestGateway
beforeAll(async () => {
  writeFileSync(manifest, manifestOf(DOCUMENTS))
  platform = await openTestPlatform()
  gateway = await platform.gateway({ env: { BERTH_TRUSTED_DOCUMENTS: manifest } })
  production = await platform.gateway({
    env: { BERTH_TRUSTED_DOCUMENTS: manifest, BERTH_ENV: 'production' },
  })
})
afterAll(async () => {
  await platform[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

type Case = {
  name: Name
  rest?: Record<string, unknown>
  headers?: Record<string, string>
  status: number
  of?: () => TestGateway
}
const json = 'application/json'
const graphql = 'application/graphql-response+json'
const cases: [string, Case][] = [
  ['a query', { name: 'offers', status: 200 }],
  ['variables that are null', { name: 'offers', rest: { variables: null }, status: 200 }],
  ['a variable', { name: 'allocation', rest: { variables: { id: 'alc_1' } }, status: 200 }],
  [
    'more than ASCII',
    { name: 'allocation', rest: { variables: { id: 'alc_ö€😀\n' } }, status: 200 },
  ],
  ['a missing variable', { name: 'allocation', status: 400 }],
  ['a wrong one', { name: 'allocation', rest: { variables: { id: { a: 1 } } }, status: 400 }],
  ['variables that are a list', { name: 'offers', rest: { variables: [1] }, status: 400 }],
  ['variables that are a text', { name: 'offers', rest: { variables: '{}' }, status: 400 }],
  ['a name that is a number', { name: 'offers', rest: { operationName: 1 }, status: 400 }],
  ['one of several', { name: 'several', rest: { operationName: 'B' }, status: 200 }],
  ['none of several', { name: 'several', status: 400 }],
  ['an unknown name', { name: 'several', rest: { operationName: 'C' }, status: 400 }],
  ['an empty name', { name: 'several', rest: { operationName: '' }, status: 400 }],
  [
    'an error of a subgraph',
    { name: 'allocation', rest: { variables: { id: 'boom' } }, status: 200 },
  ],
  ['nothing found', { name: 'allocation', rest: { variables: { id: 'missing' } }, status: 200 }],
  [
    'a part of it failing',
    { name: 'allocation', rest: { variables: { id: 'alc_unpriced' } }, status: 200 },
  ],
  ['a mutation', { name: 'create', rest: { variables: { name: 'a' } }, status: 200 }],
  [
    'a keyed mutation of two fields',
    {
      name: 'createTwice',
      rest: { variables: { name: 'a' } },
      headers: { 'idempotency-key': 'k' },
      status: 400,
    },
  ],
  ['a subscription', { name: 'inbox', status: 400 }],
  ['too many aliases', { name: 'aliases', status: 400 }],
  [
    'large variables',
    { name: 'allocation', rest: { variables: { id: 'x'.repeat(70_000) } }, status: 400 },
  ],
  [
    'too large a body',
    { name: 'allocation', rest: { variables: { id: 'x'.repeat(1 << 20) } }, status: 413 },
  ],
  ['the schema', { name: 'schema', status: 200 }],
  ['the schema in production', { name: 'schema', status: 403, of: () => production }],
  ['a bad credential', { name: 'offers', headers: { authorization: 'Bearer x' }, status: 401 }],
  ['another origin', { name: 'offers', headers: { origin: 'https://app.test' }, status: 200 }],
  [
    'a type that forms send',
    { name: 'offers', headers: { 'content-type': 'text/plain' }, status: 400 },
  ],
  ...[graphql, `${graphql}, ${json};q=0.9`, json, '*/*', 'application/*', `${json};q=0, */*`].map(
    (accept): [string, Case] => [
      `accept ${accept}`,
      { name: 'offers', headers: { accept }, status: 200 },
    ],
  ),
  ['a refusal as graphql-response', { name: 'aliases', headers: { accept: graphql }, status: 400 }],
  [
    'accept text/html',
    {
      name: 'create',
      rest: { variables: { name: 'a' } },
      headers: { accept: 'text/html' },
      status: 406,
    },
  ],
]

test.each(cases)(
  '%s: the lane answers as Apollo Server does',
  async (_what, { name, rest, headers = {}, status, of }) => {
    const at = of?.() ?? gateway
    const byText = await ask(at, { query: DOCUMENTS[name], ...rest }, headers)
    const byHash = await ask(at, { ...rest, ...persisted(name) }, headers)
    const byId = await ask(
      at,
      { documentId: `sha256:${hash('sha256', DOCUMENTS[name])}`, ...rest },
      headers,
    )
    expect(byText.status).toBe(status)
    expect(byHash).toEqual(byText)
    expect(byId).toEqual(byText)
  },
)

test('what the client takes no answer to is not run', async () => {
  const before = (await platform.seen()).length
  const body = { variables: { name: 'a' } }
  for (const how of [{ query: DOCUMENTS.create }, persisted('create')]) {
    const { status } = await ask(gateway, { ...how, ...body }, { accept: 'text/html' })
    expect(status).toBe(406)
  }
  expect(await platform.seen()).toHaveLength(before)
})

test('the rate is the same whichever way a request takes', async () => {
  await platform.redis.hset(POLICIES, 'ratelimit.query', JSON.stringify({ perMinute: 6, burst: 2 }))
  const own = await platform.gateway({ env: { BERTH_TRUSTED_DOCUMENTS: manifest } })
  const headers = { authorization: `Bearer ${await platform.issuer.token('colleague')}` }
  const statuses = []
  for (const how of [persisted('offers'), { query: DOCUMENTS.offers }, persisted('offers')]) {
    statuses.push((await ask(own, how, headers)).status)
  }
  expect(statuses).toEqual([200, 200, 429])
  const [byText, byHash] = [
    await ask(own, { query: DOCUMENTS.offers }, headers),
    await ask(own, persisted('offers'), headers),
  ]
  expect(Number(byHash.headers['retry-after'])).toBeGreaterThan(0)
  expect(Object.keys(byHash.headers)).toEqual(Object.keys(byText.headers))
  await platform.redis.hdel(POLICIES, 'ratelimit.query')
})

test('a hash that is not registered is not found, and nothing is run', async () => {
  for (const named of [
    { extensions: { persistedQuery: { version: 1, sha256Hash: hash('sha256', 'x') } } },
    { extensions: { persistedQuery: { version: 1, sha256Hash: 'constructor' } } },
    { documentId: `sha256:${hash('sha256', 'x')}` },
    { documentId: 'x-other:1' },
  ]) {
    const { status, body } = await ask(gateway, named)
    expect(status).toBe(400)
    expect(body.errors?.[0]?.extensions?.code).toBe('PERSISTED_QUERY_NOT_FOUND')
  }
})

test.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])(
  '%s is no matter of the lane',
  async (method) => {
    const extensions = JSON.stringify(persisted('offers').extensions)
    const withHash = new URLSearchParams({ extensions })
    const [plain, named] = await Promise.all(
      ['', `?${withHash}`].map((search) =>
        fetch(`${gateway.http.url}/graphql${search}`, { method }),
      ),
    )
    expect(named?.status).toBe(plain?.status)
  },
)

test('without a manifest a hash is answered by Apollo Server, as before', async () => {
  const own = await platform.gateway()
  const { body } = await ask(own, persisted('offers'))
  expect(body.errors?.[0]?.message).toBe('PersistedQueryNotSupported')
})

test.each([
  [
    'an id of another body',
    manifestOf({ a: '{ __typename }' }).replace('__typename', 'viewer'),
    'SHA-256',
  ],
  ['a document that is not valid', manifestOf({ a: '{ ofers }' }), 'Cannot query field "ofers"'],
  ['another format', '{"format":"relay"}', 'apollo-persisted-query-manifest, version 1'],
  ['no JSON', '{', 'JSON'],
])('a manifest with %s starts nothing', async (_what, text, message) => {
  const file = path.join(directory, 'bad.json')
  writeFileSync(file, text)
  const refused = platform.gateway({ env: { BERTH_TRUSTED_DOCUMENTS: file } })
  await expect(refused).rejects.toThrow(message)
})

function manifestOf(documents: Record<string, string>): string {
  const operations = Object.entries(documents).map(([name, body]) => {
    const type = /^(mutation|subscription)/.exec(body)?.[0] ?? 'query'
    return { id: hash('sha256', body), name, type, body }
  })
  return JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations })
}

function persisted(name: Name) {
  const sha256Hash = hash('sha256', DOCUMENTS[name])
  return { extensions: { persistedQuery: { version: 1, sha256Hash } } }
}

const RELEVANT = /^(content|cache|vary|retry|access|allow|x-|www)/

async function ask(to: TestGateway, body: unknown, headers: Record<string, string> = {}) {
  const answer = await to.ask(body, { 'x-request-id': 'the-same-request', ...headers })
  const relevant = [...answer.headers].filter(([name]) => RELEVANT.test(name))
  return { ...answer, headers: Object.fromEntries(relevant.sort()) }
}
