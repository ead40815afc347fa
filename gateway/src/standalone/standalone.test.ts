import { hash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { GraphQLError, parse } from 'graphql'
import { createClient } from 'graphql-ws'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import {
  ask,
  type Command,
  composed,
  type ForeignSubgraph,
  openForeignSubgraph,
  run,
} from './test-kit.ts'

const BOOKS = `
  type Query { books: [Book!]! broken: String whoami: String }
  type Mutation { rename(id: ID!, title: String!): Book! }
  type Subscription { countdown(from: Int!): Tick! }
  type Book @key(fields: "id") { id: ID! title: String! }
  type Tick { number: Int! book: Book! }
`
const REVIEWS = 'type Book @key(fields: "id") { id: ID! stars: Int }'

let directory: string
let books: ForeignSubgraph
let reviews: ForeignSubgraph
let file: string
const commands: Command[] = []

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'gateway-'))
  const book = { id: '1', title: 'One' }
  books = await openForeignSubgraph('books', BOOKS, {
    Query: {
      books: () => [book, { id: '2', title: 'Two' }],
      broken: () => {
        throw new GraphQLError('no such shelf', {
          extensions: { code: 'BAD_SHELF', shelf: 7, http: { status: 418 } },
        })
      },
      whoami: (_root: unknown, _args: unknown, { headers }: { headers: Record<string, string> }) =>
        headers['x-user'] ?? null,
    },
    Mutation: { rename: (_root: unknown, args: object) => args },
    Subscription: {
      countdown: {
        async *subscribe(_root: unknown, { from }: { from: number }) {
          for (let number = from; number > 0; number--) yield { countdown: { number, book } }
        },
      },
    },
    Book: { __resolveReference: ({ id }: { id: string }) => ({ id, title: `Book ${id}` }) },
  })
  reviews = await openForeignSubgraph('reviews', REVIEWS, {
    Book: { __resolveReference: ({ id }: { id: string }) => ({ id, stars: Number(id) }) },
  })
  file = await written('supergraph.graphql', composed(books, reviews))
})
afterAll(async () => {
  for (const it of commands) it.process.kill('SIGKILL')
  await Promise.all([books.close(), reviews.close()])
  await rm(directory, { recursive: true })
})

test('one command serves any supergraph: queries, mutations, subscriptions, introspection, probes', async () => {
  const url = await start('--no-authentication').url
  const { status, body } = await ask(url, { query: '{ books { title stars } }' })
  expect({ status, body }).toEqual({
    status: 200,
    body: {
      data: {
        books: [
          { title: 'One', stars: 1 },
          { title: 'Two', stars: 2 },
        ],
      },
    },
  })
  const query = 'mutation { rename(id: "5", title: "Five") { title stars } }'
  expect((await ask(url, { query })).body).toEqual({
    data: { rename: { title: 'Five', stars: 5 } },
  })
  expect(
    await streamed(url, 'subscription { countdown(from: 2) { number book { stars } } }'),
  ).toEqual([
    { countdown: { number: 2, book: { stars: 1 } } },
    { countdown: { number: 1, book: { stars: 1 } } },
  ])
  expect((await ask(url, { query: '{ __schema { queryType { name } } }' })).status).toBe(200)
  for (const at of ['/healthz', '/readyz', '/metrics']) {
    expect((await fetch(`${url}${at}`)).status).toBe(200)
  }
  for (const at of ['/', '/graphql']) {
    const page = await fetch(`${url}${at}`, { headers: { accept: 'text/html' } })
    const text = await page.text()
    expect(text).toContain('graphql-transport-ws')
    expect(text).toContain('/graphql/stream')
    // Of the graph that is served, and of no other.
    expect(text).not.toMatch(/berth|offers/i)
  }
})

test('errors of subgraphs are shown as they are, or masked', async () => {
  const shown = await ask(await start('--no-authentication').url, { query: '{ broken }' })
  expect(shown.status).toBe(200)
  expect(shown.body).toEqual({
    data: { broken: null },
    errors: [
      {
        message: 'no such shelf',
        path: ['broken'],
        extensions: { code: 'BAD_SHELF', shelf: 7, http: { status: 418 } },
      },
    ],
  })
  const masked = await ask(await start('--no-authentication', '--mask-errors').url, {
    query: '{ broken }',
  })
  expect(masked.body.errors?.[0]?.extensions?.code).toBe('INTERNAL')
  expect(JSON.stringify(masked.body)).not.toContain('shelf')
})

test('subgraphs get the headers that they are to get, and no others', async () => {
  const url = await start('--no-authentication', '--forward-header', 'X-User').url
  books.seen.length = 0
  const headers = { 'x-user': 'ada', authorization: 'Bearer secret', cookie: 'a=b' }
  expect((await ask(url, { query: '{ whoami }' }, headers)).body.data).toEqual({ whoami: 'ada' })
  expect((await ask(url, { query: '{ whoami }' }, { 'x-user': 'bob' })).body.data).toEqual({
    whoami: 'bob',
  })
  const query = 'subscription { countdown(from: 1) { number } }'
  expect(await streamed(url, query, headers)).toHaveLength(1)
  expect(books.seen.map((it) => it['x-user'])).toEqual(['ada', 'bob', 'ada'])
  expect(JSON.stringify(books.seen)).not.toMatch(/secret|a=b/)
})

test('a page of an allowed origin may send the headers that are forwarded, on every face', async () => {
  const flags = ['--allowed-origin', 'https://app.test', '--forward-header', 'X-Tenant']
  const url = await start('--no-authentication', ...flags).url
  for (const at of ['/graphql', '/graphql/stream']) {
    const { status, headers } = await fetch(`${url}${at}`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.test',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,x-tenant',
      },
    })
    expect(status).toBe(204)
    expect(headers.get('access-control-allow-origin')).toBe('https://app.test')
    const allowed = headers.get('access-control-allow-headers')?.split(', ')
    expect(allowed).toEqual(expect.arrayContaining(['content-type', 'x-tenant']))
  }
})

test('those who send the same headers share reads that are on their way, when it is said', async () => {
  const forward = ['--no-authentication', '--forward-header', 'x-user']
  const together = async (url: string, users: readonly string[]) => {
    books.seen.length = 0
    await Promise.all(users.map((it) => ask(url, { query: '{ whoami }' }, { 'x-user': it })))
    return books.seen.length
  }
  const same = Array.from({ length: 20 }, () => 'ada')
  const different = same.map((_, i) => `user ${i}`)
  const own = await start(...forward).url
  expect(await together(own, same)).toBe(20)
  const shared = await start(...forward, '--share-by-headers').url
  expect(await together(shared, same)).toBeLessThan(20)
  expect(await together(shared, different)).toBe(20)
})

test('a supergraph that is written is served, one that is broken is not', async () => {
  const own = await written('reloaded.graphql', composed(books, reviews))
  const command = run(['--supergraph', own, '--port', '0', '--no-authentication'])
  commands.push(command)
  const url = await command.url
  const added = { query: '{ books { pages: stars } added: whoami }' }
  expect((await ask(url, added)).status).toBe(200)

  await writeFile(own, 'type Query { nonsense')
  await vi.waitFor(() => expect(command.lines.join('\n')).toContain('cannot be served'), 10_000)
  expect((await ask(url, added)).status).toBe(200)

  const text = BOOKS.replace('whoami: String', '').replace(
    'type Query {',
    'type Query { extra: Int',
  )
  await writeFile(own, composed({ ...books, typeDefs: parse(linked(text)) }, reviews))
  await vi.waitFor(() => expect(command.lines.join('\n')).toContain('another supergraph'), 10_000)
  const removed = await ask(url, added)
  expect(removed.status).toBe(400)
  expect(removed.body.errors?.[0]?.extensions?.code).toBe('BAD_INPUT')
  expect((await ask(url, { query: '{ books { stars } }' })).status).toBe(200)
})

test('where subgraphs are can be said otherwise', async () => {
  const elsewhere = composed({ ...books, url: 'http://127.0.0.1:1/query' }, { ...reviews, url: '' })
  const own = await written('elsewhere.graphql', elsewhere)
  const flags = ['--port', '0', '--no-authentication', '--supergraph', own]
  const refused = run([...flags, '--subgraph', `books=${books.url}`])
  commands.push(refused)
  expect((await refused.ended).code).toBe(1)
  expect(refused.lines.join()).toContain('--subgraph reviews=URL')
  const said = ['--subgraph', `books=${books.url}`, '--subgraph', `reviews=${reviews.url}`]
  const command = run([...flags, ...said, '--subscription-url', `books=${books.url}`])
  commands.push(command)
  const url = await command.url
  expect((await ask(url, { query: '{ books { stars } }' })).status).toBe(200)
  expect(await streamed(url, 'subscription { countdown(from: 1) { number } }')).toHaveLength(1)
})

test('with an issuer, who presents no good token of its is refused, on every face', async () => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }
  const keys = createServer((_request, response) => {
    response.end(JSON.stringify({ keys: [jwk] }))
  }).listen(0, '127.0.0.1')
  await once(keys, 'listening')
  const { port } = keys.address() as AddressInfo
  const sign = (audience: string) =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer('https://issuer.test')
      .setAudience(audience)
      .setSubject('ada')
      .setExpirationTime('5m')
      .sign(privateKey)
  const issuer = ['--issuer', 'https://issuer.test', '--audience', 'books']
  const url = await start('--jwks', `http://127.0.0.1:${port}/`, ...issuer).url
  const query = { query: '{ books { title } }' }
  const by = async (audience: string) => ({ authorization: `Bearer ${await sign(audience)}` })
  expect((await ask(url, query, await by('books'))).status).toBe(200)
  expect((await ask(url, query, await by('others'))).status).toBe(401)
  expect((await ask(url, query)).status).toBe(401)
  const stream = 'subscription { countdown(from: 1) { number } }'
  expect(await streamed(url, stream, await by('books'))).toHaveLength(1)
  await expect(streamed(url, stream)).rejects.toMatchObject({ code: 4401 })
  keys.close()
})

test('trusted documents are served by their hash; a manifest that was tampered with starts nothing', async () => {
  const body = '{ books { stars } }'
  const manifest = (id: string, text = body) =>
    JSON.stringify({
      format: 'apollo-persisted-query-manifest',
      version: 1,
      operations: [{ id, name: 'Books', type: 'query', body: text }],
    })
  const id = hash('sha256', body)
  const good = await written('manifest.json', manifest(id))
  const url = await start('--no-authentication', '--trusted-documents', good).url
  const named = { extensions: { persistedQuery: { version: 1, sha256Hash: id } } }
  expect((await ask(url, named)).body.data).toEqual({ books: [{ stars: 1 }, { stars: 2 }] })

  const invalid = '{ booke { stars } }'
  for (const [name, text, message] of [
    ['tampered.json', manifest(id, `${body} `), 'is not the SHA-256 of its body'],
    ['invalid.json', manifest(hash('sha256', invalid), invalid), 'Cannot query field "booke"'],
    ['other.json', '{"format":"relay"}', 'not of the format apollo-persisted-query-manifest'],
  ] as const) {
    const bad = start('--no-authentication', '--trusted-documents', await written(name, text))
    const { code, errors } = await bad.ended
    expect(code).toBe(2)
    expect(errors).toContain(message)
  }
})

test('a wrong flag ends it with 2 and says what is wrong', async () => {
  const wrong = await run(['--supergraph', 'x', '--ports', '1']).ended
  expect(wrong.code).toBe(2)
  expect(wrong.errors).toContain("Unknown option '--ports'")
  const nowhere = await run(['--supergraph', '/nowhere/x.graphql', '--no-authentication']).ended
  expect(nowhere.code).toBe(2)
  expect(nowhere.errors).toContain('ENOENT')
})

test('an address for a subgraph that there is not ends it with 2, and says which there are', async () => {
  for (const flag of ['--subgraph', '--subscription-url']) {
    const args = ['--supergraph', file, '--port', '0', '--no-authentication', flag, 'c=http://x']
    const { code, errors } = await run(args).ended
    expect(code).toBe(2)
    expect(errors).toContain(
      `${flag} c: the supergraph has no such subgraph, it has books, reviews`,
    )
  }
})

test('a port that is taken ends it with 1 and one line', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const command = run(['--supergraph', file, '--port', `${port}`, '--no-authentication'])
  expect(await command.ended).toEqual({
    code: 1,
    errors: `Cannot listen at 127.0.0.1, port ${port}: the port is taken\n`,
  })
  expect(command.lines).toEqual([])
  server.close()
})

test.each(['NODE_ENV', 'BERTH_ENV'])(
  'in production, by %s, somebody must be asked',
  async (name) => {
    const args = ['--supergraph', file, '--port', '0', '--no-authentication']
    const { code, errors } = await run(args, { [name]: 'production' }).ended
    expect(code).toBe(2)
    expect(errors).toContain('--no-authentication is refused in production')
  },
)

test('--help says what there is', async () => {
  const command = run(['--help'])
  expect((await command.ended).code).toBe(0)
  expect(command.lines.join('\n')).toContain('--subscription-url NAME=URL')
})

test('it drains when it is told to stop', async () => {
  const command = start('--no-authentication')
  const url = await command.url
  expect((await ask(url, { query: '{ __typename }' })).status).toBe(200)
  command.process.kill('SIGTERM')
  expect((await command.ended).code).toBe(0)
})

function start(...flags: string[]): Command {
  const command = run(['--supergraph', file, '--port', '0', ...flags])
  commands.push(command)
  return command
}

async function written(name: string, text: string): Promise<string> {
  const at = path.join(directory, name)
  await writeFile(at, text)
  return at
}

function linked(sdl: string): string {
  return `extend schema @link(url: "https://specs.apollo.dev/federation/v2.7", import: ["@key"])\n${sdl}`
}

async function streamed(
  url: string,
  query: string,
  headers: Record<string, string> = {},
): Promise<unknown[]> {
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: class extends WebSocket {
      constructor(address: string, protocol: string) {
        super(address, protocol, { headers })
      }
    },
    retryAttempts: 0,
  })
  try {
    const events: unknown[] = []
    for await (const { data } of client.iterate({ query })) events.push(data)
    return events
  } finally {
    await client.dispose()
  }
}
