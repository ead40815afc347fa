import { composeServices } from '@apollo/composition'
import type { PlanNode, QueryPlan } from '@apollo/query-planner'
import { createActor } from '@berth/platform/actor'
import type { Log } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { Kind, type OperationDefinitionNode, parse } from 'graphql'
import { expect, test, vi } from 'vitest'
import type { GatewayContext } from '../context.ts'
import { createPlanner } from '../subscriptions/plan.ts'
import { shownErrors } from './answer-text.ts'
import type { SubgraphAnswer } from './answers.ts'
import type { Credentials } from './credentials.ts'
import { createExecutor } from './executor.ts'
import { buildGraph, type Graph } from './graph.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])`

const SUBGRAPHS = {
  shop: `
    type Query { product: Product }
    type Subscription { sold: Product }
    type Product @key(fields: "id") { id: ID! name: String }`,
  prices: 'type Product @key(fields: "id") { id: ID! price: Int }',
} as const

test('what the compiler fails at runs on the stock executor, is counted, and logged once', async () => {
  const graph = graphOf()
  breakPlans(graph)
  const { executor, log, metrics } = open(graph)
  const source = '{ product { name price } }'
  const document = parse(source)
  const of = { source, document, definition: definitionOf(document), operationName: null }

  for (let i = 0; i < 3; i++) {
    const answer = await executor.execute({ ...of, variables: {}, context })
    expect(answer).toEqual({ dataText: '{"product":{"name":"One","price":5}}', errors: [] })
  }

  expect(log.error).toHaveBeenCalledTimes(1)
  const told = await metrics.registry.metrics()
  expect(told).toContain('berth_gateway_not_compiled_total{feature="bug",service="test"} 1')
  expect(told).toContain('berth_gateway_operations_total{lane="stock",service="test"} 3')
  expect(told).not.toContain('lane="compiled"')
})

test.each(['compiled', 'stock'])(
  'an event is completed with the client’s names, and stays as it was: %s',
  async (lane) => {
    const graph = graphOf()
    if (lane === 'stock') breakPlans(graph)
    const { executor, metrics } = open(graph)
    // What the planner would mistake for the key, and for the variable, that it adds itself.
    const document = parse('subscription { name: sold { id: name x: name price } }')
    const definition = definitionOf(document)
    const { node } = createPlanner(graph, () => 'PERSON')(document, definition)
    const [, key] = /(\w+):name/.exec(node.primary.operation) ?? []
    const [, field] = /(\w+):sold/.exec(node.primary.operation) ?? []
    const product = { __typename: 'Product', id: '1', [String(key)]: 'One', x: 'One' }
    const event = { data: { [String(field)]: product } }
    const before = JSON.stringify(event)

    const of = { node, document, definition, variables: {}, context }
    const all = await Promise.all([executor.hydrate(event, of), executor.hydrate(event, of)])

    const dataText = '{"name":{"id":"One","x":"One","price":5}}'
    expect(all).toEqual([
      { dataText, errors: [] },
      { dataText, errors: [] },
    ])
    expect(JSON.stringify(event)).toBe(before)
    expect(await metrics.registry.metrics()).toContain(`{lane="${lane}",service="test"} 2`)
  },
)

test.each(['compiled', 'stock'])(
  'of an event’s many errors a hundred are shown, and how many more there were: %s',
  async (lane) => {
    const graph = graphOf()
    if (lane === 'stock') breakPlans(graph)
    const { executor } = open(graph)
    const document = parse('subscription { sold { name } }')
    const definition = definitionOf(document)
    const { node } = createPlanner(graph, () => 'PERSON')(document, definition)
    const errors = Array.from({ length: 300 }, () => ({ message: 'No' }))
    const of = { node, document, definition, variables: {}, context }
    const answer = await executor.hydrate({ data: { sold: null }, errors }, of)
    const log = { error: () => undefined }
    const shown = shownErrors(answer.errors, { requestId: 'r-1', log })
    expect(answer.dataText).toBe('{"sold":null}')
    expect(shown).toHaveLength(101)
    expect(shown[100]?.extensions).toMatchObject({ code: 'TOO_COMPLEX', leftOut: 200 })
  },
)

test('an operation is compiled once for each way that its conditions turn out', async () => {
  const graph = graphOf()
  const plan = vi.spyOn(graph.planner, 'buildQueryPlan')
  const { executor } = open(graph)
  const source =
    'query ($a: Boolean!, $b: Boolean = true) { product { name @include(if: $a) price @skip(if: $b) } }'
  const document = parse(source)
  const of = { source, document, definition: definitionOf(document), operationName: null, context }
  const data = async (variables: Record<string, unknown>) =>
    (await executor.execute({ ...of, variables })).dataText

  for (let i = 0; i < 2; i++) {
    expect(await data({ a: true })).toBe('{"product":{"name":"One"}}')
    expect(await data({ a: true, b: true })).toBe('{"product":{"name":"One"}}')
    expect(await data({ a: false })).toBe('{"product":{}}')
    expect(await data({ a: true, b: false })).toBe('{"product":{"name":"One","price":5}}')
  }
  expect(plan).toHaveBeenCalledTimes(3)
})

function graphOf(): Graph {
  const services = Object.entries(SUBGRAPHS).map(([name, sdl]) => ({
    name,
    url: 'http://unused.test',
    typeDefs: parse(`${LINK}\n${sdl}`),
  }))
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) throw new AggregateError(errors ?? [])
  return buildGraph(supergraphSdl)
}

/** As a fault of the compiler: the text of what is asked is read by nobody else. */
function breakPlans({ planner }: Graph): void {
  const build = planner.buildQueryPlan.bind(planner)
  vi.spyOn(planner, 'buildQueryPlan').mockImplementation((...args) => {
    const { node, ...plan } = build(...args)
    if (node?.kind !== 'Subscription') return { ...plan, node: broken(node) } as QueryPlan
    return { ...plan, node: { ...node, rest: broken(node.rest) } } as QueryPlan
  })
}

function broken(node: PlanNode | undefined): PlanNode | undefined {
  if (node?.kind === 'Fetch') return { ...node, operation: `${node.operation} {` }
  if (node?.kind === 'Flatten') return { ...node, node: broken(node.node) as typeof node.node }
  if (!node || !('nodes' in node)) return node
  return { ...node, nodes: node.nodes.map((it) => broken(it) as PlanNode) }
}

function open(graph: Graph) {
  const metrics = createMetrics({ service: 'test' })
  const log = { error: vi.fn(), debug: vi.fn(), warn: vi.fn() }
  const product = { __typename: 'Product', id: '1', name: 'One' }
  const executor = createExecutor({
    graph,
    clients: {
      shop: { ask: async (): Promise<SubgraphAnswer> => ({ data: { product: { ...product } } }) },
      prices: { ask: async () => ({ data: { _entities: [{ price: 5 }] } }) },
    },
    authorityOf: () => 'PERSON',
    flights: { share: (_key, _caller, run) => run(), wrote: () => undefined },
    metrics,
    log: log as unknown as Log,
  })
  return { executor, metrics, log }
}

const credentials = { sharingKey: '', narrow: () => credentials } as unknown as Credentials
const context = {
  actor: createActor({ kind: 'anonymous' }),
  credentials,
} as unknown as GatewayContext

function definitionOf(document: ReturnType<typeof parse>): OperationDefinitionNode {
  const found = document.definitions.find((it) => it.kind === Kind.OPERATION_DEFINITION)
  if (!found) throw new TypeError('no operation')
  return found as OperationDefinitionNode
}
