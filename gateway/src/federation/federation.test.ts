import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createActor } from '@berth/platform/actor'
import { createAssertionSigner } from '@berth/platform/assertion'
import { fakeClock, systemClock } from '@berth/platform/clock'
import { loadKeys } from '@berth/platform/trusted-keys'
import { createClient } from 'graphql-ws'
import { type CryptoKey, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import { SEEN } from '../../test-subgraphs/subgraphs.ts'

const LIMITS = { queryTimeoutMs: 15_000, mutationTimeoutMs: 15_000, maxAnswerBytes: 50_000 }
const CREATE = `mutation ($name: String!) {
  allocationCreate(input: { name: $name, gpuModel: "a100", gpuCount: 1 }) { allocation { name } }
}`

let platform: TestPlatform
let gateway: TestGateway
let authorization: string
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway({ subgraphLimits: LIMITS })
  authorization = `Bearer ${await platform.issuer.token('user')}`
})
afterAll(() => platform[Symbol.asyncDispose]())
beforeEach(() => platform.redis.del(SEEN))

test('an operation over four subgraphs is one answer, asked under one request id and trace', async () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const { status, headers, body } = await ask(
    '{ viewer { user { name } } offers { nodes { gpuModel { name pricePerHour { amount } } } } allocation(id: "alc_1") { cost { amount currency } } }',
    { 'x-request-id': 'request-0001', traceparent },
  )
  expect(status).toBe(200)
  expect(body).toEqual({
    data: {
      viewer: { user: { name: 'User' } },
      offers: {
        nodes: [
          { gpuModel: { name: 'A100', pricePerHour: { amount: '2.00' } } },
          { gpuModel: { name: 'H100', pricePerHour: { amount: '2.00' } } },
        ],
      },
      allocation: { cost: { amount: '1.50', currency: 'USD' } },
    },
  })
  expect(headers.get('x-request-id')).toBe('request-0001')
  const seen = await platform.seen()
  expect(seen.map((it) => it.subgraph).sort()).toEqual(['allocations', 'billing', 'policy'])
  expect(
    seen.every((it) => it.requestId === 'request-0001' && it.traceparent === traceparent),
  ).toBe(true)
})

test('an idempotency key reaches the mutation, and no read', async () => {
  const key = '"0f8fad5b-d9cb-469f-a165-70867728950e"'
  await gateway.ask(
    { query: CREATE, variables: { name: 'a' } },
    { authorization, 'idempotency-key': key },
  )
  await ask('{ allocation(id: "alc_1") { cost { amount } } }', { 'idempotency-key': key })
  const seen = await platform.seen()
  expect(seen.map((it) => [it.field, it.idempotencyKey])).toEqual([
    ['allocationCreate', key],
    ['allocation', null],
    ['cost', null],
  ])
})

test('a code of the list passes with its message, its path and our request id', async () => {
  const { body } = await ask('{ a: allocation(id: "missing") { id } offers { nodes { id } } }')
  expect(body.data).toMatchObject({ a: null, offers: { nodes: [{}, {}] } })
  expect(body.errors).toEqual([
    {
      message: 'No such allocation',
      path: ['a'],
      extensions: { code: 'NOT_FOUND', requestId: expect.any(String), retryable: false },
    },
  ])
})

test('anything else is masked, and logged with its path', async () => {
  const { body, headers } = await ask('{ allocation(id: "boom") { id } }')
  const requestId = headers.get('x-request-id')
  expect(JSON.stringify(body)).not.toContain('secret')
  expect(body.errors).toEqual([
    {
      message: expect.stringContaining(`request ${requestId}`),
      path: ['allocation'],
      extensions: { code: 'INTERNAL', requestId, retryable: true },
    },
  ])
  expect(platform.logged.some((it) => it.includes('secret of the database'))).toBe(true)
})

test('an error within an entity has the path of the whole operation', async () => {
  const { body } = await ask('{ allocation(id: "alc_unpriced") { cost { amount } } }')
  expect(body.errors).toMatchObject([
    { path: ['allocation', 'cost'], extensions: { code: 'NOT_FOUND' } },
  ])
})

test('a subgraph that is down fails its own fields, each by its path, and no others', async () => {
  await platform.stop('billing')
  const { status, body } = await ask(
    '{ offers { nodes { gpuModel { name pricePerHour { amount } } } } balance { posted { amount } } }',
  )
  await platform.start('billing')
  expect(status).toBe(200)
  expect(body.data).toBeNull()
  expect(body.errors?.map((it) => [it.path?.join('.'), it.extensions?.code])).toEqual(
    expect.arrayContaining([
      ['offers.nodes.0.gpuModel.pricePerHour', 'UPSTREAM_UNAVAILABLE'],
      ['offers.nodes.1.gpuModel.pricePerHour', 'UPSTREAM_UNAVAILABLE'],
      ['balance', 'UPSTREAM_UNAVAILABLE'],
    ]),
  )
  expect(body.errors).toHaveLength(3)

  await platform.stop('billing')
  const partial = await ask('{ offers { nodes { gpuModel { name pricePerHour { amount } } } } }')
  await platform.start('billing')
  expect(partial.body.data).toEqual({
    offers: {
      nodes: [
        { gpuModel: { name: 'A100', pricePerHour: null } },
        { gpuModel: { name: 'H100', pricePerHour: null } },
      ],
    },
  })
})

test('one that came back is asked again at once', async () => {
  expect((await ask('{ allocation(id: "alc_1") { id } }')).body.errors).toBeUndefined()
  await platform.stop('allocations')
  await platform.start('allocations')
  // The connections of before are dead, which is found out by using one.
  expect((await ask('{ allocation(id: "alc_1") { id } }')).body.errors).toBeUndefined()
})

test('one that takes too long is TIMEOUT, and holds up nothing else', async () => {
  const hasty = await platform.gateway({ subgraphLimits: { ...LIMITS, queryTimeoutMs: 1_500 } })
  const query = '{ allocation(id: "slow") { id } offers { nodes { id } } }'
  const { body } = await hasty.ask({ query }, { authorization })
  expect(body.data?.offers).toBeTruthy()
  expect(body.errors).toMatchObject([{ path: ['allocation'], extensions: { code: 'TIMEOUT' } }])
})

test('an answer beyond the limit is not read to its end', async () => {
  const { body } = await ask('{ allocation(id: "huge") { name } }')
  expect(body.errors).toMatchObject([{ path: ['allocation'], extensions: { code: 'TOO_COMPLEX' } }])
})

test('an entity that one subgraph does not know is an error, and not a silent hole', async () => {
  const { body } = await ask('{ allocation(id: "alc_gone") { id cost { amount } } }')
  expect(body.data).toEqual({ allocation: null })
  expect(body.errors).toMatchObject([
    {
      path: ['allocation', 'cost'],
      extensions: { code: 'INTERNAL', requestId: expect.any(String) },
    },
  ])
  expect(body).not.toHaveProperty('extensions')
})

test('a mutation is not repeated when its connection breaks, a read is, twice', async () => {
  const received: string[] = []
  const broken = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      received.push(text.includes('mutation') ? 'mutation' : 'read')
      response.socket?.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(broken, 'listening')
  const url = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`
  const peers = { ...platform.peers, allocations: [url] }
  const own = await platform.gateway({ env: { BERTH_PEERS: peers } })

  const read = await own.ask({ query: '{ allocation(id: "a") { id } }' }, { authorization })
  expect(read.body.errors).toMatchObject([{ extensions: { code: 'UPSTREAM_UNAVAILABLE' } }])
  const write = await own.ask({ query: CREATE, variables: { name: 'a' } }, { authorization })
  expect(write.body.errors).toMatchObject([{ extensions: { code: 'UPSTREAM_UNAVAILABLE' } }])
  expect(received).toEqual(['read', 'read', 'read', 'mutation'])
  broken.close()
})

test('of two replicas one refuses connections: reads and mutations go to the other', async () => {
  const [alive = ''] = platform.peers.allocations ?? []
  const peers = { ...platform.peers, allocations: ['http://127.0.0.1:1', alive] }
  const own = await platform.gateway({ env: { BERTH_PEERS: peers } })
  for (let i = 0; i < 4; i++) {
    const { body } = await own.ask({ query: CREATE, variables: { name: 'a' } }, { authorization })
    expect(body.errors).toBeUndefined()
  }
  expect(await platform.seen()).toHaveLength(4)
})

test('a schema that the gateway has and the subgraph has not is our fault, and masked', async () => {
  const supergraphSdl = testSupergraph().replace(
    /type Viewer[^{]*\{/,
    '$&\n  invented: String @join__field(graph: POLICY)\n',
  )
  const own = await platform.gateway({ supergraphSdl })
  const { body } = await own.ask({ query: '{ viewer { invented } }' }, { authorization })
  expect(body.errors).toMatchObject([{ extensions: { code: 'INTERNAL' } }])
  expect(JSON.stringify(body)).not.toContain('Cannot query')
})

/** What a subgraph must not take: each is a way to be someone without the gateway's word. */
const forgeries: [string, () => Promise<string | undefined>][] = [
  ['none', async () => undefined],
  ['an empty one', async () => ''],
  [
    'another key’s under the gateway’s name',
    async () => {
      const { privateKey } = await generateKeyPair('EdDSA')
      return assertion(privateKey, {})
    },
  ],
  [
    'that of another service',
    async () => {
      const { privateJwk } = loadKeys(platform.keysDir, 'billing')
      return signer('billing', privateJwk).sign(operator, 'policy')
    },
  ],
  [
    'that of another service in the gateway’s name',
    async () => {
      const { privateJwk } = loadKeys(platform.keysDir, 'billing')
      return signer('gateway', privateJwk).sign(operator, 'policy')
    },
  ],
  [
    'the gateway’s for another subgraph',
    async () => {
      const { privateJwk } = loadKeys(platform.keysDir, 'gateway')
      return signer('gateway', privateJwk).sign(operator, 'billing')
    },
  ],
  [
    'one that has expired',
    async () => {
      const { privateJwk } = loadKeys(platform.keysDir, 'gateway')
      const clock = fakeClock(new Date(Date.now() - 120_000))
      return createAssertionSigner({ issuer: 'gateway', privateJwk, clock }).sign(
        operator,
        'policy',
      )
    },
  ],
  ['a user’s token', () => platform.issuer.token('operator')],
]

const operator = createActor({ kind: 'service', roles: ['platform:operator'], service: 'gateway' })

test.each(forgeries)(
  'a subgraph takes no assertion like %s, over HTTP or WebSocket',
  async (_what, make) => {
    const token = await make()
    const [url = ''] = platform.peers.policy ?? []
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { 'berth-actor': token } : {}) },
      body: JSON.stringify({ query: '{ viewer { roles } }' }),
    })
    expect(response.status).toBe(401)
    const [allocations = ''] = platform.peers.allocations ?? []
    const client = createClient({
      url: `${allocations.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
    })
    const query = 'subscription { allocationUpdated { cursor } }'
    const extensions = token === undefined ? {} : { berthActor: token }
    await expect(client.iterate({ query, extensions }).next()).rejects.toMatchObject([
      { extensions: { code: 'UNAUTHENTICATED' } },
    ])
    await client.dispose()
    expect(await platform.seen()).toEqual([])
  },
)

test('a client’s own assertion header is nothing to the gateway', async () => {
  const { privateJwk } = loadKeys(platform.keysDir, 'gateway')
  const token = await signer('gateway', privateJwk).sign(operator, 'policy')
  const { body } = await gateway.ask({ query: '{ viewer { roles } }' }, { 'berth-actor': token })
  expect(body.data).toEqual({ viewer: null })
})

function ask(query: string, headers: Record<string, string> = {}) {
  return gateway.ask({ query }, { authorization, ...headers })
}

function signer(issuer: string, privateJwk: ReturnType<typeof loadKeys>['privateJwk']) {
  return createAssertionSigner({ issuer, privateJwk, clock: systemClock })
}

function assertion(key: CryptoKey, claims: Record<string, unknown>): Promise<string> {
  return new SignJWT({ kind: 'service', authority: 'PERSON', ...claims })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'actor+jwt', kid: 'gateway-1' })
    .setIssuer('gateway')
    .setAudience('policy')
    .setIssuedAt()
    .setExpirationTime('1m')
    .sign(key)
}
