import { composeServices } from '@apollo/composition'
import { operationFromDocument } from '@apollo/federation-internals'
import type { FetchNode, PlanNode } from '@apollo/query-planner'
import { parse } from 'graphql'
import { expect, test } from 'vitest'
import { buildGraph } from './graph.ts'
import { withResolvableKeysFirst } from './resolvable-keys.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9",
  import: ["@key", "@requires", "@external"])`

const SUBGRAPHS = {
  racks: `
    type Query { racks: [Rack!]! }
    type Rack
      @key(fields: "row", resolvable: false)
      @key(fields: "site { code }", resolvable: false)
      @key(fields: "serial") {
      serial: ID!
      row: Int!
      site: Site!
      watts: Int! @external
      heat: Int! @requires(fields: "watts")
    }
    type Site { code: String! }`,
  power: `
    type Rack @key(fields: "serial") { serial: ID! watts: Int! }`,
} as const

test('a subgraph is come back to by a key that it gives entities by', () => {
  const fetches = fetchesOf('{ racks { heat } }')

  const back = fetches.find((it) => it.serviceName === 'racks' && it.requires)
  const [representation] = back?.requires ?? []
  expect(representation?.kind).toBe('InlineFragment')
  const names = representation?.selections?.flatMap((it) => (it.kind === 'Field' ? it.name : []))
  expect(names?.toSorted()).toEqual(['__typename', 'serial', 'watts'])
})

test('nothing but the order of keys is changed, and that only where one is not resolvable', () => {
  const sdl = supergraph()
  const lines = (text: string) => parse(text, { noLocation: true }).definitions
  const changed = withResolvableKeysFirst(sdl).definitions
  expect(changed).toHaveLength(lines(sdl).length)
  for (const [index, before] of lines(sdl).entries()) {
    const after = changed[index]
    if (before.kind === 'ObjectTypeDefinition' && before.name.value === 'Rack') {
      expect(after).toEqual({ ...before, directives: expect.anything() })
      const directives = after?.kind === 'ObjectTypeDefinition' ? after.directives : []
      expect(directives).toHaveLength(before.directives?.length ?? 0)
      expect(directives).toEqual(expect.arrayContaining([...(before.directives ?? [])]))
    } else expect(after).toEqual(before)
  }
})

function fetchesOf(source: string): FetchNode[] {
  const { planner, api } = buildGraph(supergraph())
  const { node } = planner.buildQueryPlan(operationFromDocument(api, parse(source), {}))
  return node && node.kind !== 'Subscription' ? fetchesIn(node) : []
}

function fetchesIn(node: PlanNode): FetchNode[] {
  if (node.kind === 'Fetch') return [node]
  if (node.kind === 'Flatten') return fetchesIn(node.node)
  return 'nodes' in node ? node.nodes.flatMap(fetchesIn) : []
}

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
