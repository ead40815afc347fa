import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { buildSchema, type DocumentNode, Kind, parse } from 'graphql'
import { expect, test } from 'vitest'
import { createDocuments, operationOf } from './documents.ts'

const schema = buildSchema('type Query { offers: Int } type Subscription { offers: Int }')

test('a document is parsed and validated once, while there is room for it', () => {
  const documents = create({ maxBytes: 800_000 })
  const first = documents.open('{ offers }')
  expect(documents.open('{ offers }')).toBe(first)
  for (let i = 0; i < 1_000; i++) documents.open(`{ a${i}: offers }`)
  // It was used again, and no other.
  expect(documents.open('{ offers }')).toBe(first)
  const once = documents.open('{ once: offers }')
  for (let i = 0; i < 1_000; i++) documents.open(`{ b${i}: offers }`)
  expect(documents.open('{ once: offers }')).not.toBe(once)
  expect(documents.hottest(1)).toEqual(['{ offers }'])
})

test('what is kept is bounded by its weight, told in the metrics, and a flood evicts nothing in use', async () => {
  const metrics = createMetrics({ service: 'test' })
  const documents = create({ maxBytes: 1_000_000, metrics })
  const own = Array.from({ length: 20 }, (_, i) => `{ own${i}: offers }`)
  const opened = own.map((it) => [documents.open(it), documents.open(it)][1])
  for (let i = 0; i < 5_000; i++) documents.open(`{ flood${i}: offers x: offers y: offers }`)
  expect(own.map((it) => documents.open(it)).every((it, i) => it === opened[i])).toBe(true)
  expect(await figure(metrics, 'bytes')).toBeLessThanOrEqual(1_000_000)
  expect(await figure(metrics, 'evictions_total')).toBeGreaterThan(4_900)
  expect(await figure(metrics, 'hits_total')).toBe(40)
  expect(await figure(metrics, 'misses_total')).toBe(5_020)
})

test('what is not valid is not kept, and what is pinned is never evicted', async () => {
  const metrics = createMetrics({ service: 'test' })
  const documents = create({ maxBytes: 500_000, metrics })
  for (let i = 0; i < 100; i++) expect(() => documents.open(`{ offer${i} }`)).toThrow()
  expect(await figure(metrics, 'bytes')).toBe(0)
  const pinned = documents.pin('{ offers }')
  for (let i = 0; i < 1_000; i++) documents.open(`{ a${i}: offers }`)
  expect(documents.open('{ offers }')).toBe(pinned)
  expect(() => documents.pin('{ offer }')).toThrow(AggregateError)
})

test('each document that is kept is told before it is given', () => {
  const told: DocumentNode[] = []
  const documents = create({ onRead: (it) => told.push(it) })
  const first = documents.open('{ offers }')
  documents.open('{ offers }')
  const second = documents.pin('{ a: offers }')
  expect(() => documents.open('{ offer }')).toThrow()
  expect(told).toEqual([first, second])
})

test.each(['defer', 'stream'])('@%s is refused in words that say what to do', (directive) => {
  const source = `{ ... ${directive === 'defer' ? '@defer' : ''} { offers ${directive === 'stream' ? '@stream' : ''} } }`
  expect(messagesOf(() => create().open(source))).toEqual([
    expect.stringContaining(
      `\`@${directive}\` is not supported: answers are sent whole. Take it out`,
    ),
  ])
})

test('Apollo Server finds what was opened elsewhere, under its own prefix of the hash', async () => {
  const documents = create()
  const opened = documents.open('{ offers }')
  const hash = '2b9b2b0b6ac1d7e09d0ee7b2f2c1f3b9a55f4ae1c9c4b62f0d0f3f5e4e1a7c11'
  await documents.store.set(`some-schema:${hash}`, opened)
  expect(await documents.store.get(`other-prefix:${hash}`)).toBe(opened)
})

test.each([
  ['{', 1],
  ['{ ofers }', 1],
  ['{ offers } { offers }', 2],
  // One rule of graphql-js throws here what it should report.
  ['subscription ($no: Boolean!) { offers @skip(if: $no) }', 1],
])('what is not valid is told in GraphQL errors: %s', (source, atLeast) => {
  const documents = create()
  expect(() => documents.open(source)).toThrow(AggregateError)
  try {
    documents.open(source)
  } catch (error) {
    expect((error as AggregateError).errors.length).toBeGreaterThanOrEqual(atLeast)
  }
})

test('names of the schema are not guessed for a client that may not see it', () => {
  expect(messageOf(true)).toBe('Cannot query field "ofers" on type "Query".')
  expect(messageOf(false)).toContain('"offers"')
})

test('which of several operations is meant must be said', () => {
  const document = parse('query A { offers } query B { offers }')
  expect(operationOf(document, 'B')).toMatchObject({
    kind: Kind.OPERATION_DEFINITION,
    name: { value: 'B' },
  })
  expect(() => operationOf(document, null)).toThrow('several operations')
  expect(() => operationOf(document, 'C')).toThrow('no operation of this name')
})

function create(options: Partial<Parameters<typeof createDocuments>[1]> = {}) {
  const metrics = createMetrics({ service: 'test' })
  return createDocuments(schema, { hideSchema: false, metrics, ...options })
}

async function figure(metrics: Metrics, name: string): Promise<number | undefined> {
  const metric = metrics.registry.getSingleMetric(`berth_gateway_documents_${name}`)
  return (await metric?.get())?.values[0]?.value
}

function messageOf(hideSchema: boolean): string | undefined {
  return messagesOf(() => create({ hideSchema }).open('{ ofers }'))[0]
}

function messagesOf(open: () => unknown): string[] {
  try {
    open()
  } catch (error) {
    return (error as AggregateError).errors.map((it: Error) => it.message)
  }
  return []
}
