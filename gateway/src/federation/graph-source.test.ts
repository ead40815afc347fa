import { hash } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import { POLICIES } from '../../test-subgraphs/subgraphs.ts'

/** Without one field, and without another: going from one to the other adds and removes a field. */
const FULL = testSupergraph()
const WITHOUT_LARGEST = without('largestAllocation')
const WITHOUT_AVAILABLE = without('available')
const RELOADS = 20
const PATIENTLY = { timeout: 20_000 }

const ALWAYS = 'query Always { offers { nodes { id gpuModel { name } } } }'
const LARGEST = 'query L { offers { nodes { largestAllocation } } }'
const AVAILABLE = 'query A { offers { nodes { available } } }'
const CHANGES = `subscription { allocationUpdated { cursor event { sequence } allocation { id cost { amount } } } }`

const directory = mkdtempSync(path.join(tmpdir(), 'graph-'))
const file = path.join(directory, 'supergraph.graphql')
const manifest = path.join(directory, 'manifest.json')
let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  write(WITHOUT_LARGEST)
  const operations = [ALWAYS, AVAILABLE].map((body) => ({
    id: hash('sha256', body),
    name: body.slice(6, 12).trim(),
    type: 'query',
    body,
  }))
  const format = 'apollo-persisted-query-manifest'
  writeFileSync(manifest, JSON.stringify({ format, version: 1, operations }))
  platform = await openTestPlatform()
  const rate = JSON.stringify({ perMinute: 1_000_000, burst: 100_000 })
  await platform.redis.hset(POLICIES, 'ratelimit.query', rate)
  gateway = await platform.gateway({
    env: { BERTH_SUPERGRAPH: file, BERTH_TRUSTED_DOCUMENTS: manifest },
  })
})
afterAll(async () => {
  await platform[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

test('no request and no stream notices a reload, but by the fields that it adds and removes', async () => {
  const authorization = `Bearer ${await platform.issuer.token('user')}`
  const client = gateway.connect({ authorization })
  const stream = client.iterate<{ allocationUpdated: { event: { sequence: number } } }>({
    query: CHANGES,
  })
  const received: number[] = []
  const failures: unknown[] = []
  const reading = (async () => {
    for await (const { data, errors } of stream) {
      if (errors) failures.push(errors)
      received.push(data?.allocationUpdated.event.sequence ?? -1)
    }
  })().catch((error: unknown) => failures.push(error))
  // The stream begins where the owner is when it is subscribed to.
  await vi.waitFor(async () => {
    expect((await platform.seen()).map((it) => it.field)).toContain('allocationUpdated')
  }, PATIENTLY)

  let isDone = false
  let asked = 0
  const outcomes = { [LARGEST]: new Set<string>(), [AVAILABLE]: new Set<string>() }
  const traffic = async (body: (n: number) => unknown, seen?: Set<string>) => {
    for (let n = 0; !isDone; n++) {
      const { status, body: answer } = await gateway.ask(body(n))
      asked++
      const isRemoved = answer.errors?.every((it) => it.message.startsWith('Cannot query field'))
      if (status === 200 && !answer.errors) seen?.add('answered')
      else if (seen && status === 400 && isRemoved) seen.add('not valid')
      else failures.push({ status, answer })
    }
  }
  const byHash = (text: string) => ({
    extensions: { persistedQuery: { version: 1, sha256Hash: hash('sha256', text) } },
  })
  const running = [
    traffic(() => ({ query: ALWAYS })),
    // Always another document, so that it is parsed, planned and compiled while graphs change.
    traffic((n) => ({ query: `query D${n} { offers { nodes { id gpuModel { code } } } }` })),
    traffic(() => byHash(ALWAYS)),
    traffic(() => byHash(AVAILABLE), outcomes[AVAILABLE]),
    traffic(() => ({ query: LARGEST }), outcomes[LARGEST]),
    traffic(() => ({ query: AVAILABLE }), outcomes[AVAILABLE]),
  ]
  for (let i = 1; i <= RELOADS; i++) {
    write(i % 2 === 1 ? WITHOUT_AVAILABLE : WITHOUT_LARGEST)
    await vi.waitFor(async () => expect(await reloads('taken')).toBe(i), PATIENTLY)
    await platform.publish(`alc_${i}`)
    const soFar = asked
    await vi.waitFor(() => expect(asked).toBeGreaterThan(soFar + 20), PATIENTLY)
  }
  await vi.waitFor(() => expect(received.length).toBeGreaterThanOrEqual(RELOADS), PATIENTLY)
  isDone = true
  await Promise.all(running)
  await client.dispose()
  await reading

  expect(failures).toEqual([])
  expect(received).toEqual(Array.from({ length: RELOADS }, (_, i) => i + 1))
  for (const seen of Object.values(outcomes)) {
    expect([...seen].sort()).toEqual(['answered', 'not valid'])
  }
})

test('a supergraph that cannot be built, or has nowhere to ask, changes nothing', async () => {
  write(FULL)
  await vi.waitFor(
    async () => expect((await gateway.ask({ query: LARGEST })).status).toBe(200),
    PATIENTLY,
  )
  const refused = (await reloads('refused')) ?? 0
  for (const [i, text] of [
    'type Query { nonsense',
    'type Query { a: Int }',
    FULL.replace(
      'INVENTORY @join__graph(name: "inventory"',
      'INVENTORY @join__graph(name: "elsewhere"',
    ),
  ].entries()) {
    write(text)
    await vi.waitFor(async () => expect(await reloads('refused')).toBe(refused + i + 1), PATIENTLY)
    expect((await gateway.ask({ query: LARGEST })).status).toBe(200)
  }
})

test('what is used most is planned and compiled before a graph is served', async () => {
  write(`${FULL}\n# first`)
  await vi.waitFor(() => expect(line('another supergraph is served')).toBeTruthy(), PATIENTLY)
  platform.logged.length = 0
  for (let i = 0; i < 3; i++) await gateway.ask({ query: '{ offers { nodes { warm: id } } }' })
  write(`${FULL}\n# second`)
  await vi.waitFor(() => expect(line('another supergraph is served')).toBeTruthy(), PATIENTLY)
  const { warmed } = JSON.parse(line('another supergraph is served') ?? '{}')
  // The two of the manifest as well.
  expect(warmed).toBeGreaterThanOrEqual(3)
  const misses = await counted('berth_gateway_documents_misses_total')
  expect((await gateway.ask({ query: '{ offers { nodes { warm: id } } }' })).status).toBe(200)
  expect(await counted('berth_gateway_documents_misses_total')).toBe(misses)
})

function line(message: string): string | undefined {
  return platform.logged.find((it) => it.includes(message))
}

/** As a deployment does: another file in its place, whole. */
function write(text: string): void {
  writeFileSync(`${file}.next`, text)
  renameSync(`${file}.next`, file)
}

function without(field: string): string {
  const at = FULL.indexOf('type Offer\n')
  const described = new RegExp(`  """(?:(?!""")[^])*"""\\n  ${field}:.*\\n`)
  return FULL.slice(0, at) + FULL.slice(at).replace(described, '')
}

async function reloads(outcome: string): Promise<number | undefined> {
  return counted('berth_gateway_graph_reloads_total', { outcome })
}

async function counted(name: string, labels: Record<string, string> = {}) {
  const metric = await gateway.metrics.registry.getSingleMetric(name)?.get()
  return metric?.values.find((it) =>
    Object.entries(labels).every(([label, value]) => it.labels[label] === value),
  )?.value
}
