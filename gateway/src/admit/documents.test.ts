import { anonymous } from '@berth/platform/actor'
import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { buildSchema, type DocumentNode, GraphQLError, Kind, parse, Token } from 'graphql'
import { expect, test } from 'vitest'
import { createDocuments, operationOf, weightOfPlan } from './documents.ts'
import { LIMITS } from './limits.ts'
import type { PlanningBudget } from './planning-budget.ts'

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

test('a text longer than the limit is refused before it is read, in bytes and not in characters', () => {
  const { documentBytes: limit } = LIMITS
  const documents = create({ maxBytes: 64_000_000 })
  for (const [text, bytes] of [
    [' ', 1],
    ['\n#', 2],
    ['€', 3],
    ['\u{1f680}', 4],
  ] as const) {
    const start = '{ offers } #'
    const within = start + text.repeat(Math.floor((limit - start.length) / bytes))
    expect(documents.open(within).kind).toBe(Kind.DOCUMENT)
    const length = Buffer.byteLength(within + text)
    for (const read of [documents.open, documents.pin]) {
      expect(() => read(within + text)).toThrow(
        expect.objectContaining({
          code: 'TOO_COMPLEX',
          message: `The document is too long: ${length} bytes (at most ${limit})`,
        }),
      )
    }
  }
})

test('no token is kept, and so no comment; where a variable was declared is', () => {
  const comments = '\n#'.repeat(30_000)
  const source = `query ($a: Boolean!) { offers ${comments}\n a: offers @skip(if: $a) }`
  const document = create({ maxBytes: 64_000_000 }).open(source)
  expect(tokensKept(document)).toBe(0)
  expect(document.loc?.source.body).toBe(source)
  const [variable] = operationOf(document, null).variableDefinitions ?? []
  const told = new GraphQLError('no value', { nodes: variable ?? null })
  expect(told.locations).toEqual([{ line: 1, column: 8 }])
})

test('errors of what is not valid say where, behind comments too', () => {
  const documents = create()
  expect.assertions(1)
  try {
    documents.open('{\n # a comment\n   ofers }')
  } catch (error) {
    expect((error as AggregateError).errors[0].locations).toEqual([{ line: 3, column: 4 }])
  }
})

test('what is new is at the expense of who sends it, also when it is refused; what is known is not', () => {
  const paid: string[] = []
  const budget: PlanningBudget = {
    spend({ clientIp }, make) {
      paid.push(clientIp)
      return make()
    },
  }
  const documents = create({ budget })
  const of = (clientIp: string) => ({ caller: { actor: anonymous, clientIp } })
  documents.open('{ offers }', of('1'))
  documents.open('{ offers }', of('2'))
  expect(() => documents.open('{ ofers }', of('3'))).toThrow(AggregateError)
  documents.open('{ a: offers }')
  expect(paid).toEqual(['1', '3'])
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

test('fields of one name that are too many to compare are refused in words that say what to do', () => {
  for (const name of ['__typename', 'offers']) {
    expect(() => create().open(`{ ${`${name} `.repeat(1_900)} }`)).toThrow(
      expect.objectContaining({
        code: 'TOO_COMPLEX',
        message: expect.stringMatching(/too much to validate: ask for each field once/),
      }),
    )
  }
})

test('what is planned is weighed with its document, while that is kept', async () => {
  const metrics = createMetrics({ service: 'test' })
  const documents = create({ maxBytes: 1_000_000, metrics })
  const [first, pinned] = [documents.open('{ offers }'), documents.pin('{ a: offers }')]
  const before = (await figure(metrics, 'bytes')) ?? 0
  documents.planned(first, 3)
  documents.planned(pinned, 3)
  expect(await figure(metrics, 'bytes')).toBe(before + weightOfPlan(3))
  documents.planned(first, 1_000)
  expect(await figure(metrics, 'bytes')).toBe(0)
  expect(documents.open('{ offers }')).not.toBe(first)
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

/** Tokens that can be reached from it. */
function tokensKept(document: DocumentNode): number {
  const seen = new Set<object>()
  const left: object[] = [document]
  for (let it = left.pop(); it; it = left.pop()) {
    if (seen.has(it)) continue
    seen.add(it)
    for (const value of Object.values(it)) {
      if (typeof value === 'object' && value !== null) left.push(value)
    }
  }
  return [...seen].filter((it) => it instanceof Token).length
}
