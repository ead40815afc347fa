import { composeServices } from '@apollo/composition'
import { createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { Kind, type OperationDefinitionNode, parse } from 'graphql'
import { expect, test } from 'vitest'
import type { GatewayContext } from '../../context.ts'
import type { SubgraphAnswer } from '../answers.ts'
import type { Credentials } from '../credentials.ts'
import { createExecutor } from '../executor.ts'
import { buildGraph } from '../graph.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9",
  import: ["@key", "@shareable", "@inaccessible", "@requires", "@external", "@interfaceObject"])`

const SUBGRAPHS = {
  shop: `
    type Query { products: [Product] product(id: ID, note: String = "x"): Product sure: Product! items: [Item] matrix: [[Int!]] }
    type Mutation { first: Int! second: Int }
    type Subscription { sold: Product }
    type Product @key(fields: "id") { id: ID! name: String count: Int maker: Maker weight: Float kind: Kind constructor: String }
    type Maker @key(fields: "id") { id: ID! }
    interface Item { id: ID! }
    type Book implements Item { id: ID! pages: Int! }
    type Film implements Item { id: ID! minutes: Int }
    type Secret implements Item @inaccessible { id: ID! }
    enum Kind { NEW OLD SECRET @inaccessible }`,
  prices: `
    type Query { prices: Int }
    type Mutation { third: Int }
    type Product @key(fields: "id") { id: ID! price: Int! offer: Int label: String weight: Float @external
      shipping: Float @requires(fields: "weight") }
    type Maker @key(fields: "id") { id: ID! country: String! rank: Int }`,
} as const

type Service = keyof typeof SUBGRAPHS
type Asked = { readonly query: string; readonly variables: Record<string, unknown> }
type Answers = Partial<Record<Service, (asked: Asked) => unknown>>

const graph = buildGraph(supergraph())

function supergraph(): string {
  const services = Object.entries(SUBGRAPHS).map(([name, sdl]) => ({
    name,
    url: 'http://unused.test',
    typeDefs: parse(`${LINK}\n${sdl}`),
  }))
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) throw new AggregateError(errors ?? [])
  return supergraphSdl
}

function open(answers: Answers) {
  const asked: [Service, Asked][] = []
  const metrics = createMetrics({ service: 'test' })
  const client = (service: Service) => ({
    async ask(body: string): Promise<SubgraphAnswer> {
      const request = { variables: {}, ...JSON.parse(body) } as Asked
      asked.push([service, request])
      // As it comes from the network: nothing of it is shared with the test.
      return JSON.parse(JSON.stringify(await answers[service]?.(request)))
    },
  })
  const executor = createExecutor({
    graph,
    clients: { shop: client('shop'), prices: client('prices') },
    authorityOf: () => 'PERSON',
    flights: { share: (_key, _caller, run) => run(), wrote: () => undefined },
    metrics,
    log,
  })
  return { executor, asked, metrics }
}

const log = { error: () => undefined } as unknown as Log
const credentials = { sharingKey: '', narrow: () => credentials } as unknown as Credentials
const context = {
  actor: createActor({ kind: 'anonymous' }),
  credentials,
  log,
} as unknown as GatewayContext

async function ask(source: string, answers: Answers, variables: Record<string, unknown> = {}) {
  const { executor, asked, metrics } = open(answers)
  const document = parse(source)
  const definition = definitionOf(document)
  const of = { source, document, definition, operationName: null, variables, context }
  const { dataText, errors } = await executor.execute(of)
  expect(await metrics.registry.metrics()).not.toContain('lane="stock"')
  return {
    data: dataText === undefined ? undefined : JSON.parse(dataText),
    told: told(errors),
    asked,
  }
}

function definitionOf(document: ReturnType<typeof parse>): OperationDefinitionNode {
  const found = document.definitions.find((it) => it.kind === Kind.OPERATION_DEFINITION)
  if (!found) throw new TypeError('no operation')
  return found as OperationDefinitionNode
}

function told(errors: readonly Error[]): string[] {
  return errors.map((it) => `${(it as { path?: unknown[] }).path?.join('.')}: ${it.message}`)
}

const product = (id: string, more: object = {}) => ({ __typename: 'Product', id, ...more })
const products = (...all: unknown[]) => ({ shop: () => ({ data: { products: all } }) })
const failing = (error: unknown) => ({
  prices: () => {
    throw error
  },
})

test('equal entities are asked for once, and an error stands at each of their places', async () => {
  const { data, told, asked } = await ask('{ products { id price offer } }', {
    ...products(product('1'), product('2'), product('1')),
    prices: () => ({
      data: {
        _entities: [
          { price: 10, offer: null },
          { price: 20, offer: 2 },
        ],
      },
      errors: [
        { message: 'Too dear', path: ['_entities', 0, 'offer'], extensions: { code: 'CONFLICT' } },
      ],
    }),
  })
  expect(asked[1]?.[1].variables).toEqual({ representations: [product('1'), product('2')] })
  expect(data.products.map((it: { price: number }) => it.price)).toEqual([10, 20, 10])
  expect(told).toEqual(['products.0.offer: Too dear', 'products.2.offer: Too dear'])
})

test('a null that a subgraph’s error explains has no other error, one that nothing explains has its own', async () => {
  const answers = {
    ...products(product('1'), product('2')),
    prices: () => ({
      data: { _entities: [null, null] },
      errors: [
        { message: 'No price', path: ['_entities', 1, 'price'], extensions: { code: 'NOT_FOUND' } },
      ],
    }),
  }
  const { data, told } = await ask('{ products { id price label } }', answers)
  expect(data).toEqual({ products: [null, null] })
  expect(told).toEqual([
    'products.1.price: No price',
    'products.0.price: Cannot return null for non-nullable field Product.price.',
  ])
})

test('a fetch that fails is told of at every place of its data, at most a hundred times', async () => {
  const unavailable = new DomainError('UPSTREAM_UNAVAILABLE', 'prices does not answer')
  const few = await ask('{ products { id a: offer shipping } }', {
    ...products(
      product('1', { weight: 1 }),
      product('1', { weight: 1 }),
      product('2', { weight: null }),
    ),
    ...failing(unavailable),
  })
  expect(few.told.map((it) => it.split(':')[0]).sort()).toEqual([
    'products.0.a',
    'products.0.shipping',
    'products.1.a',
    'products.1.shipping',
    'products.2.a',
    'products.2.shipping',
  ])
  const many = Array.from({ length: 300 }, (_, i) => product(`${i}`))
  const lot = await ask('{ products { offer price } }', {
    ...products(...many),
    ...failing(unavailable),
  })
  // What is not told of one by one is explained all the same.
  expect(lot.told).toHaveLength(100)
  expect(new Set(lot.told.map((it) => it.split(': ')[1]))).toEqual(new Set([unavailable.message]))
})

test('a fault is told of once, at the first place', async () => {
  const { told } = await ask('{ products { offer } }', {
    ...products(product('1'), product('2')),
    ...failing(new TypeError('secret')),
  })
  expect(told).toEqual(['products.0.offer: a fetch failed'])
})

test.each<[string, unknown]>([
  ['no list', { _entities: {} }],
  ['too few', { _entities: [] }],
  ['nothing', {}],
])('entities that are not those asked for are a fault: %s', async (_what, data) => {
  const { data: answer, told } = await ask('{ products { offer } }', {
    ...products(product('1')),
    prices: () => ({ data }),
  })
  expect(answer).toEqual({ products: [{ offer: null }] })
  expect(told).toEqual(['products.0.offer: a fetch failed'])
})

test.each<[string, unknown, string]>([
  ['name', { a: 1 }, 'String cannot represent value: { a: 1 }'],
  ['count', 'many', 'Int cannot represent non-integer value: "many"'],
  ['count', 2 ** 31, 'Int cannot represent non 32-bit signed integer value: 2147483648'],
  ['weight', 'heavy', 'Float cannot represent non numeric value: "heavy"'],
  ['kind', 'UNKNOWN', 'Enum "Kind" cannot represent value: "UNKNOWN"'],
  ['kind', 'SECRET', 'Enum "Kind" cannot represent value: "SECRET"'],
  ['maker { id }', 'text', 'Expected an object for field "Product.maker".'],
])('a value of %s that its type does not have is an error: %j', async (field, value, message) => {
  const [key = ''] = field.split(' ')
  const { data, told } = await ask(`{ a: product { ${field} } }`, {
    shop: () => ({ data: { a: { __typename: 'Product', [key]: value } } }),
  })
  expect(data).toEqual({ a: { [key]: null } })
  expect(told).toEqual([`a.${key}: ${message}`])
})

test('nulls rise through lists of lists, each to where one may be', async () => {
  const { data, told } = await ask('{ matrix }', {
    shop: () => ({ data: { matrix: [[1, 2], [3, null], null, 'no list'] } }),
  })
  expect(data).toEqual({ matrix: [[1, 2], null, null, null] })
  expect(told).toEqual([
    'matrix.1.1: Cannot return null for non-nullable field Query.matrix.',
    'matrix.3: Expected Iterable, but did not find one for field "Query.matrix".',
  ])
})

test('a type that clients may not see, or that is none, is an error and a null', async () => {
  const { data, told } = await ask('{ items { id t: __typename ... on Book { pages } } }', {
    shop: () => ({
      data: {
        items: [
          { __typename: 'Book', id: '1', pages: 3 },
          { __typename: 'Secret', id: '2' },
          { __typename: 'Product', id: '3' },
          { __typename: '__proto__', id: '4' },
        ],
      },
    }),
  })
  expect(data).toEqual({ items: [{ id: '1', t: 'Book', pages: 3 }, null, null, null] })
  expect(told.map((it) => it.split(':')[0])).toEqual(['items.1', 'items.2', 'items.3'])
})

test('names that every object has are no data, and hostile keys change no object', async () => {
  const hostile =
    '{"data":{"product":{"__typename":"Product","__proto__":{"name":"evil"},"id":"1"}}}'
  const { data } = await ask(
    '{ product { id constructor toString: name __proto__: count hasOwnProperty: weight } }',
    {
      shop: () => JSON.parse(hostile),
    },
  )
  expect(Object.entries(data.product)).toEqual([
    ['id', '1'],
    ['constructor', null],
    ['toString', null],
    ['__proto__', null],
    ['hasOwnProperty', null],
  ])
  expect(({} as { name?: string }).name).toBeUndefined()
})

test('only variables that are declared, used and given are sent, null among them', async () => {
  const source =
    'query ($id: ID, $note: String, $no: Int, $unused: Boolean) { product(id: $id, note: $note) { id } other: prices @skip(if: true) }'
  const shop = () => ({ data: { product: null } })
  const { asked } = await ask(source, { shop }, { id: null, no: 1, more: 2 })
  expect(asked[0]?.[1].variables).toEqual({ id: null })
})

test('a client may name its variable and its aliases as the plan does its own', async () => {
  const source = 'query ($representations: ID) { product(id: $representations) { id: name label } }'
  const { data, asked } = await ask(
    source,
    {
      shop: ({ query }) => ({
        data: { product: product('1', { [/(\w+):name/.exec(query)?.[1] ?? '']: 'One' }) },
      }),
      prices: () => ({ data: { _entities: [{ label: 'new' }] } }),
    },
    { representations: '1' },
  )
  expect(data).toEqual({ product: { id: 'One', label: 'new' } })
  expect(asked[1]?.[1].variables).toEqual({ representations: [product('1')] })
})

test('variables that do not fit are refused before anything is asked', async () => {
  const { executor, asked } = open({})
  const document = parse('query ($id: Int!) { prices @include(if: true) }')
  const definition = definitionOf(document)
  const of = {
    source: '',
    document,
    definition,
    operationName: null,
    variables: { id: 'x' },
    context,
  }
  expect(await executor.execute(of)).toMatchObject({
    dataText: undefined,
    errors: [expect.any(Error)],
  })
  expect(asked).toEqual([])
})

test('a mutation that may not be null and is ends those after it', async () => {
  const source = 'mutation { first third second }'
  const down = await ask(source, {
    shop: () => ({
      data: null,
      errors: [{ message: 'No', path: ['first'], extensions: { code: 'CONFLICT' } }],
    }),
  })
  expect(down.data).toBeNull()
  expect(down.told).toEqual(['first: No'])
  expect(down.asked.map(([service]) => service)).toEqual(['shop'])
  const fine = await ask(source, {
    shop: ({ query }) => ({ data: query.includes('first') ? { first: 1 } : { second: null } }),
    prices: () => ({ data: { third: 3 } }),
  })
  expect(fine.data).toEqual({ first: 1, third: 3, second: null })
  expect(fine.asked.map(([service]) => service)).toEqual(['shop', 'prices', 'shop'])
})

test('introspection stands beside other fields, with variables and under conditions', async () => {
  const source = `query ($name: String!, $on: Boolean!) {
    __typename prices t: __type(name: $name) { kind ...F @include(if: $on) } } fragment F on __Type { name }`
  const prices = () => ({ data: { prices: 1 } })
  const on = await ask(source, { prices }, { name: 'Kind', on: true })
  expect(on.data).toEqual({ __typename: 'Query', prices: 1, t: { kind: 'ENUM', name: 'Kind' } })
  const off = await ask(source, { prices }, { name: 'Secret', on: false })
  expect(off.data).toEqual({ __typename: 'Query', prices: 1, t: null })
})

test('each combination of conditions has its fields, in the order of the first that is wanted', async () => {
  const source =
    'query ($a: Boolean!, $b: Boolean = true) { product { name @skip(if: $a) ... @include(if: $b) { count } name id } }'
  const shop = () => ({ data: { product: product('1', { name: 'One', count: 1 }) } })
  const keys = async (variables: Record<string, unknown>) =>
    Object.keys((await ask(source, { shop }, variables)).data.product)
  expect(await keys({ a: false })).toEqual(['name', 'count', 'id'])
  expect(await keys({ a: true })).toEqual(['count', 'name', 'id'])
  expect(await keys({ a: true, b: false })).toEqual(['name', 'id'])
  expect((await ask(source, { shop }, { a: true, b: null })).told).toHaveLength(1)
})

test('an event is completed for several without being changed', async () => {
  const source = 'subscription { sold { id price maker { country } } }'
  const document = parse(source)
  const { operationFromDocument } = await import('@apollo/federation-internals')
  const { node } = graph.planner.buildQueryPlan(operationFromDocument(graph.api, document, {}))
  if (node?.kind !== 'Subscription') throw new TypeError('no subscription')
  const { executor } = open({
    prices: ({ variables: { representations } }) => ({
      data: {
        _entities: (representations as { __typename: string }[]).map(({ __typename }) =>
          __typename === 'Maker' ? { country: 'NL' } : { price: 5 },
        ),
      },
    }),
  })
  const event = freeze({
    data: { sold: product('1', { maker: { __typename: 'Maker', id: 'm' } }) },
  })
  const before = JSON.stringify(event)
  const of = { node, document, definition: definitionOf(document), variables: {}, context }
  const all = await Promise.all([executor.hydrate(event, of), executor.hydrate(event, of)])
  for (const { dataText, errors } of all) {
    expect(errors).toEqual([])
    expect(dataText).toBe('{"sold":{"id":"1","price":5,"maker":{"country":"NL"}}}')
  }
  expect(JSON.stringify(event)).toBe(before)
})

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null)
    Object.values(Object.freeze(value)).forEach(freeze)
  return value
}

test('of errors beyond number a hundred are told, the others as one, and each null stays explained', async () => {
  const ids = Array.from({ length: 5_000 }, (_, i) => `${i}`)
  const all = ids.map((id) => product(id))
  const errors = ids.map((_, i) => ({ message: 'No', path: ['_entities', i, 'price'] }))
  const { data, told } = await ask('{ products { id price offer } }', {
    ...products(...all),
    prices: () => ({ data: { _entities: ids.map(() => null) }, errors }),
  })
  expect(data.products).toEqual(ids.map(() => null))
  expect(told).toHaveLength(101)
  expect(told[0]).toBe('products.0.price: prices answered with an error: No')
  expect(told[100]).toBe('undefined: 4900 more errors are left out: ask for less at once')
  expect(told.join()).not.toContain('Cannot return null')
})

test('many errors of a whole answer cost what they are, not what they are times its places', async () => {
  const ids = Array.from({ length: 5_000 }, (_, i) => `${i}`)
  const all = ids.map((id) => product(id))
  const error = { message: 'No', path: ['_entities'] }
  const { data, told } = await ask('{ products { offer } }', {
    ...products(...all),
    prices: () => ({ errors: ids.map(() => error) }),
  })
  expect(data.products).toEqual(ids.map(() => ({ offer: null })))
  expect(told.length).toBeLessThanOrEqual(101)
})
