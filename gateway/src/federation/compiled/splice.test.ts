import { composeServices } from '@apollo/composition'
import { createMetrics } from '@berth/platform/metrics'
import fc from 'fast-check'
import { type DocumentNode, type OperationDefinitionNode, parse } from 'graphql'
import { expect, test, vi } from 'vitest'
import type { GatewayContext } from '../../context.ts'
import { shownErrors } from '../answer-text.ts'
import type { Answer } from '../answers.ts'
import type { Credentials } from '../credentials.ts'
import { createExecutor, type Executor } from '../executor.ts'
import { buildGraph } from '../graph.ts'
import { parseAnswer } from '../transport/parse-answer.ts'
import type { SubgraphClients } from '../transport/subgraph-client.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])`
const SUBGRAPHS = {
  shop: `
    type Query { offers: [Offer]! top: Offer }
    type Offer @key(fields: "id") { id: ID! name: String! kind: Kind price: Float! maker: Maker }
    type Maker @key(fields: "code") { code: Int! country: String }
    enum Kind { NEW OLD }`,
  stock: `
    type Offer @key(fields: "id") { id: ID! free: Int! site: Site! depot: Depot }
    type Depot @key(fields: "code") { code: Int! }
    type Site { city: String! bay: Bay }
    type Bay { number: Int! row: [String!] }`,
  makers: `
    type Maker @key(fields: "code") { code: Int! name: String! since: Int }
    type Depot @key(fields: "code") { code: Int! city: String }`,
} as const

type Texts = Readonly<Record<string, string>>

const OFFERS: Texts = {
  shop: '{"data":{"offers":[{"__typename":"Offer","id":"ö1","name":"One \\"1\\"","price":1.5,"maker":{"__typename":"Maker","code":7,"country":"Österreich"},"kind":"NEW"},null,{"__typename":"Offer","id":"o2","name":"Two","price":20,"maker":{"__typename":"Maker","code":7,"country":null},"kind":null}]}}',
  stock:
    '{"data":{"_entities":[{"free":3,"site":{"city":"Graz","bay":{"number":1,"row":["a","b"]}}},{"free":0,"site":{"city":"Wien","bay":null}}]}}\n',
  makers: '{"data":{"_entities":[{"name":"Müller","since":1999}]}}',
}
const ALL =
  '{ offers { name price free maker { name country since } site { city bay { number row } } kind } }'
const WRITTEN =
  '{"offers":[{"name":"One \\"1\\"","price":1.5,"free":3,"maker":{"name":"Müller","country":"Österreich","since":1999},"site":{"city":"Graz","bay":{"number":1,"row":["a","b"]}},"kind":"NEW"},null,{"name":"Two","price":20,"free":0,"maker":{"name":"Müller","country":null,"since":1999},"site":{"city":"Wien","bay":null},"kind":null}]}'

const graph = graphOf()

test('what several subgraphs wrote is put together, in the client’s order, and nothing is parsed', async () => {
  const { answer, asked } = await run(ALL, OFFERS)
  expect(answer.dataBytes).toBe(Buffer.from(WRITTEN).toString('latin1'))
  expect(answer.dataText).toBe(WRITTEN)
  expect(answer.errors).toEqual([])
  const entities =
    '"representations":[{"__typename":"Offer","id":"ö1"},{"__typename":"Offer","id":"o2"}]'
  expect(asked.filter((it) => it.includes(entities))).toHaveLength(1)
  expect(asked.filter((it) => it.includes('[{"__typename":"Maker","code":7}]'))).toHaveLength(1)
})

test('what one subgraph wrote is passed on', async () => {
  const top = '{"id":"1","name":"é\\n","kind":"OLD","price":0.25}'
  const { answer } = await run('{ top { id name kind price } }', {
    shop: `{"data":{"top":${top}}}`,
  })
  expect(answer.dataBytes).toBe(Buffer.from(`{"top":${top}}`).toString('latin1'))
})

test.each([
  ['an error', '{"errors":[{"message":"x","path":["top"]}],"data":{"top":null}}'],
  ['an error behind it', '{"data":{"top":null},"errors":[{"message":"x","path":["top"]}]}'],
  ['extensions', '{"data":{"top":null},"extensions":{}}'],
  ['no data', '{"data":null}'],
  ['white space', '{"data":{"top": null}}'],
  ['a key twice', '{"data":{"top":{"id":"1","id":"2","price":1}}}'],
  ['more keys', '{"data":{"top":{"id":"1","price":1,"name":"x"}}}'],
  ['another order', '{"data":{"top":{"price":1,"id":"1"}}}'],
  ['a missing key', '{"data":{"top":{"id":"1"}}}'],
  ['a null that must not be', '{"data":{"top":{"id":null,"price":1}}}'],
  ['another type', '{"data":{"top":{"id":1,"price":"1"}}}'],
  ['a list', '{"data":{"top":[{"id":"1","price":1}]}}'],
  ['an integer as 1.0', '{"data":{"top":{"id":"1","price":1.0}}}'],
  ['-0', '{"data":{"top":{"id":"1","price":-0}}}'],
  ['a number beyond doubles', '{"data":{"top":{"id":"1","price":1e400}}}'],
  ['a number between doubles', '{"data":{"top":{"id":"1","price":9007199254740993}}}'],
  ['escapes that we would not write', '{"data":{"top":{"id":"\\u0041\\/","price":1}}}'],
  ['half a surrogate', '{"data":{"top":{"id":"\\ud800","price":1}}}'],
  ['more text', '{"data":{"top":{"id":"1","price":1}}}}'],
  ['less text', '{"data":{"top":{"id":"1","price":1}}'],
  ['no text', ''],
  ['a byte order mark', '\ufeff{"data":{"top":{"id":"1","price":1}}}'],
])('%s goes the other way, and is answered alike', async (_, text) => {
  const source = '{ top { id price } }'
  const one = await run(source, { shop: text })
  const other = await run(source, { shop: text }, { isParsed: true })
  expect(one.answer.dataBytes).toBeUndefined()
  expect(shown(one.answer)).toEqual(shown(other.answer))
  expect(one.asked).toEqual(other.asked)
})

test('bytes that are no UTF-8 go the other way', async () => {
  const bytes = Buffer.from('{"data":{"top":{"id":"1","name":"?"}}}')
  bytes[bytes.indexOf('?')] = 0xff
  const { answer } = await run('{ top { id name } }', { shop: bytes })
  expect(answer.dataBytes).toBeUndefined()
  expect(answer.dataText).toBe('{"top":{"id":"1","name":"\ufffd"}}')
})

const CHARACTERS = [...'{}[]":,\\ \n0123456789.-eEnultrsfa_ö', '"', 'null', '{"', '"}', '\u0000']

test('whatever is changed in an answer, it is answered as if all were parsed', async () => {
  let spliced = 0
  let texts = { ...OFFERS }
  const asItIs = executorOf(() => texts, {})
  const parsed = executorOf(() => texts, { isParsed: true })
  await executeOn(asItIs, ALL)
  const changes = fc.array(
    fc.record({
      service: fc.constantFrom(...Object.keys(OFFERS)),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      removed: fc.nat(2),
      added: fc.oneof(fc.constantFrom(...CHARACTERS), fc.constant('')),
    }),
    { minLength: 1, maxLength: 2 },
  )
  await fc.assert(
    fc.asyncProperty(changes, async (all) => {
      // In between all is well: it would not go on trying.
      texts = { ...OFFERS }
      expect((await executeOn(asItIs, ALL)).dataText).toBe(WRITTEN)
      for (const { service, at, removed, added } of all) {
        const text = texts[service] ?? ''
        const from = Math.floor(at * text.length)
        texts[service] = text.slice(0, from) + added + text.slice(from + removed)
      }
      const one = await executeOn(asItIs, ALL)
      const other = await executeOn(parsed, ALL)
      if (one.dataBytes !== undefined) spliced++
      expect(shown(one)).toEqual(shown(other))
    }),
    { numRuns: 3_000 },
  )
  expect(spliced).toBeGreaterThan(20)
})

test('what is amiss in one answer is found out before the others are there', async () => {
  const held = Promise.withResolvers<void>()
  const texts = {
    shop: '{"data":{"top":{"__typename":"Offer","id":"1","maker":{"__typename":"Maker","code":7}}}}',
    stock: '{"data":{"_entities":[{"depot": {"__typename":"Depot","code":1}}]}}',
  }
  const asked: string[] = []
  let isHeld = false
  const execute = executorOf(() => texts, {
    asked,
    async answer(body) {
      if (!body.includes('"Maker"')) return '{"data":{"_entities":[{"city":"Linz"}]}}'
      if (isHeld) await held.promise
      return '{"data":{"_entities":[{"name":"M"}]}}'
    },
  })
  const source = '{ top { depot { city } maker { name } } }'
  const first = await executeOn(execute, source)
  isHeld = true
  asked.length = 0
  const pending = executeOn(execute, source)
  await vi.waitFor(() => expect(asked).toHaveLength(4))
  held.resolve()
  const { dataText, dataBytes } = await pending
  expect(dataText).toBe('{"top":{"depot":{"city":"Linz"},"maker":{"name":"M"}}}')
  expect([dataText, dataBytes]).toEqual([first.dataText, undefined])
  expect(asked).toHaveLength(4)
})

test('subgraphs that write otherwise are soon left alone, and tried again', async () => {
  let taken = 0
  const write = { shop: '{ "data":{"top":{"id":"1"}}}' }
  const execute = executorOf(() => write, { onTake: () => taken++ })
  const ask = () => executeOn(execute, '{ top { id } }')
  for (let i = 0; i < 300; i++) expect((await ask()).dataText).toBe('{"top":{"id":"1"}}')
  expect(taken).toBeLessThan(30)
  write.shop = '{"data":{"top":{"id":"1"}}}'
  for (let i = 0; i < 100; i++) await ask()
  expect((await ask()).dataBytes).toBe('{"top":{"id":"1"}}')
})

async function run(
  source: string,
  texts: Readonly<Record<string, string | Buffer>>,
  { isParsed = false } = {},
) {
  const asked: string[] = []
  const execute = executorOf(() => texts, { isParsed, asked })
  // What runs once is not worth it.
  const { dataBytes } = await executeOn(execute, source)
  expect(dataBytes).toBeUndefined()
  asked.length = 0
  return { answer: await executeOn(execute, source), asked: asked.sort() }
}

const documents = new Map<string, DocumentNode>()

function executeOn(execute: Executor['execute'], source: string): Promise<Answer> {
  // What is compiled is kept by its nodes.
  const document = documents.get(source) ?? parse(source)
  documents.set(source, document)
  const definition = document.definitions[0] as OperationDefinitionNode
  return execute({ source, document, definition, operationName: null, variables: {}, context })
}

function executorOf(
  texts: () => Readonly<Record<string, string | Buffer>>,
  of: {
    isParsed?: boolean
    asked?: string[]
    onTake?: () => void
    /** Of whoever has no text. */
    answer?: (body: string) => Promise<string>
  },
): Executor['execute'] {
  const clients: SubgraphClients = Object.fromEntries(
    graph.subgraphs.map((service) => [
      service,
      {
        async ask(body, _isMutation, _context, take) {
          of.asked?.push(body)
          const bytes = Buffer.from(texts()[service] ?? (await of.answer?.(body)) ?? '')
          if (take) of.onTake?.()
          if (!of.isParsed && take?.(bytes)) return { taken: bytes }
          return parseAnswer(service, 200, bytes.toString('utf8'))
        },
      },
    ]),
  )
  return createExecutor({
    graph,
    clients,
    authorityOf: () => 'PERSON',
    flights: { share: (_key, _caller, run) => run(), wrote: () => undefined },
    metrics: createMetrics({ service: 'test' }),
    log: SILENT,
  }).execute
}

function shown({ dataText, errors }: Answer) {
  const told = shownErrors(errors, { requestId: 'r', log: SILENT }).map((it) => JSON.stringify(it))
  return { dataText, errors: told.sort() }
}

function graphOf() {
  const services = Object.entries(SUBGRAPHS).map(([name, sdl]) => ({
    name,
    url: 'http://unused.test',
    typeDefs: parse(`${LINK}\n${sdl}`),
  }))
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) throw new AggregateError(errors ?? [])
  return buildGraph(supergraphSdl)
}

const SILENT = new Proxy({}, { get: () => () => SILENT }) as GatewayContext['log']
const credentials = { isAlone: true, narrow: () => credentials } as unknown as Credentials
const context = { actor: {}, credentials, log: SILENT } as unknown as GatewayContext
