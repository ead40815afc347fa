import { composeServices } from '@apollo/composition'
import { operationFromDocument } from '@apollo/federation-internals'
import { parse } from 'graphql'
import { expect, test } from 'vitest'
import { buildGraph } from '../graph.ts'
import { unplannedRoot } from './unplanned.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9",
  import: ["@key", "@shareable", "@interfaceObject"])`

/** Nothing implements `Device` in `desk`, and `lab` cannot be entered by it. */
const SUBGRAPHS = {
  desk: `
    type Query { device: Device hosts: [Host!]! room: Room }
    interface Device @key(fields: "id") { id: ID! }
    type Host @key(fields: "id") { id: ID! name: String }
    type Room { name: String }`,
  lab: `
    type Query { spare: Device }
    type Device @key(fields: "id", resolvable: false) @interfaceObject { id: ID! load: Int }
    type Host @key(fields: "id") { id: ID! rack: Int }`,
} as const

const graph = buildGraph(supergraph())

test.each([
  '{ device { load } }',
  '{ hosts { name rack } device { load } }',
  '{ ... on Query { ...Loads } } fragment Loads on Query { hosts { name } device { load } }',
  'query ($v: Boolean!) { device { load @include(if: $v) } }',
])('a field of the root that was left out of the plan is found: %s', (source) => {
  expect(unplanned(source)).toBe('device')
})

test('it is found by its name in the data', () => {
  expect(unplanned('{ hosts { name } mine: device { load } }')).toBe('mine')
})

test.each([
  '{ hosts { name rack } room { name } }',
  '{ device { id } }',
  '{ device { __typename } }',
  '{ __typename __schema { queryType { name } } }',
  '{ mine: hosts { rack } spare { load } }',
  '{ ...Hosts } fragment Hosts on Query { hosts { ...Host } } fragment Host on Host { rack }',
  '{ hosts { name @skip(if: true) } room { name } }',
  // What is under a condition may be asked for never.
  'query ($v: Boolean!) { hosts @include(if: $v) @skip(if: $v) { name } room @skip(if: true) { name } }',
  'query ($v: Boolean!) { hosts @include(if: $v) { name rack } room { name } }',
])('what is asked for is not missed: %s', (source) => {
  expect(unplanned(source)).toBeUndefined()
})

function unplanned(source: string): string | undefined {
  const document = parse(source, { noLocation: true })
  const { node } = graph.planner.buildQueryPlan(operationFromDocument(graph.api, document, {}))
  if (node?.kind === 'Subscription') throw new TypeError('no plan of a query')
  return unplannedRoot(document, node)
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
