import { hash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createClient } from 'graphql-ws'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { composed, type ForeignSubgraph, openForeignSubgraph, run } from './test-kit.ts'

const TEXT = 'é 漢字 😀 \u2028 "\\ \u007f'
const QUERY = '{ items { label owner { id: name } } }'
const DATA = { items: [{ label: TEXT, owner: { id: `${TEXT} o-ö` } }] }
const ROUNDS = 4

let directory: string
let things: ForeignSubgraph
let owners: ForeignSubgraph
let command: ReturnType<typeof run>
/** Told once the first subgraph is asked, and what it waits for. */
let asked = Promise.withResolvers<void>()
let held = Promise.withResolvers<void>()

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'gateway-'))
  things = await openForeignSubgraph(
    'things',
    `type Query { items: [Item] } type Item { label: String owner: Owner }
     type Owner @key(fields: "id") { id: ID! }`,
    {
      Query: {
        async items() {
          asked.resolve()
          await held.promise
          return [{ label: TEXT, owner: { id: 'o-ö' } }]
        },
      },
    },
  )
  owners = await openForeignSubgraph(
    'owners',
    'type Owner @key(fields: "id") { id: ID! name: String }',
    { Owner: { __resolveReference: ({ id }: { id: string }) => ({ name: `${TEXT} ${id}` }) } },
  )
  const supergraph = path.join(directory, 'supergraph.graphql')
  const manifest = path.join(directory, 'manifest.json')
  const operations = [{ id: hash('sha256', QUERY), name: 'Q', type: 'query', body: QUERY }]
  const format = { format: 'apollo-persisted-query-manifest', version: 1 }
  await writeFile(supergraph, composed(things, owners))
  await writeFile(manifest, JSON.stringify({ ...format, operations }))
  command = run([
    ...['--supergraph', supergraph, '--trusted-documents', manifest, '--port', '0'],
    ...['--no-authentication', '--share-by-headers'],
  ])
})
afterAll(async () => {
  command.process.kill('SIGKILL')
  await Promise.all([things.close(), owners.close(), rm(directory, { recursive: true })])
})

test('whoever asks, and whoever began to, gets the same text as UTF-8, and its length in bytes', async () => {
  const url = await command.url
  const extensions = { persistedQuery: { version: 1, sha256Hash: hash('sha256', QUERY) } }
  const faces: readonly (() => Promise<unknown>)[] = [
    () => posted(url, { extensions }),
    () => posted(url, { query: QUERY }),
    () => streamed(url),
    () => overSocket(url),
  ]
  for (let round = 0; round < ROUNDS; round++) {
    asked = Promise.withResolvers()
    held = Promise.withResolvers()
    // Another is first each time: the others join it, or begin one of their own.
    const first = faces[round % faces.length]?.()
    await asked.promise
    const others = faces.map((it) => it())
    held.resolve()
    const answers = await Promise.all([first, ...others])
    expect(answers).toEqual(answers.map(() => ({ data: DATA })))
  }
  const metrics = await (await fetch(`${url}/metrics`)).text()
  expect(metrics).toMatch(
    /berth_gateway_spliced_total\{outcome="spliced",service="gateway"\} [1-9]/,
  )
  expect(metrics).toMatch(/berth_gateway_shared_reads_total\{service="gateway"\} [1-9]/)
})

const UTF8 = new TextDecoder('utf-8', { fatal: true })

async function posted(url: string, body: object): Promise<unknown> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const bytes = await response.arrayBuffer()
  expect(response.headers.get('content-length')).toBe(String(bytes.byteLength))
  return JSON.parse(UTF8.decode(bytes))
}

async function streamed(url: string): Promise<unknown> {
  const response = await fetch(`${url}/graphql/stream`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: QUERY }),
  })
  const lines = UTF8.decode(await response.arrayBuffer()).split('\n')
  const data = lines[lines.indexOf('event: next') + 1]
  return JSON.parse(data?.replace('data: ', '') ?? '')
}

async function overSocket(url: string): Promise<unknown> {
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
  })
  try {
    for await (const result of client.iterate({ query: QUERY })) return result
  } finally {
    await client.dispose()
  }
  return null
}
