import { getOperationAST, parse, validate } from 'graphql'
import { expect, test } from 'vitest'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import { createAuthorityOf } from '../authority.ts'
import { buildGraph } from '../federation/graph.ts'
import { createPlanner } from './plan.ts'

const graph = buildGraph(testSupergraph())
const plan = createPlanner(graph, createAuthorityOf(graph.supergraph))

test('the owner is asked for its own fields and the position, the others hydrate', () => {
  const it = planned('subscription { allocationUpdated { allocation { name cost { amount } } } }')
  expect(it.service).toBe('allocations')
  expect(it.node.primary.operation).toContain('berthCursor:cursor')
  expect(it.node.primary.operation).toContain('after:$berthAfter')
  expect(it.node.primary.operation).not.toContain('cost')
  expect(JSON.stringify(it.node.rest)).toContain('"serviceName":"billing"')
})

test('the client’s own `after` is taken from a literal, a variable or its default', () => {
  const literal = planned('subscription { allocationUpdated(after: "c1") { cursor } }')
  expect(literal.bind({})).toEqual({ variables: {}, after: 'c1' })
  const variable = planned('subscription ($a: String) { allocationUpdated(after: $a) { cursor } }')
  expect(variable.bind({ a: 'c2' }).after).toBe('c2')
  expect(variable.bind({}).after).toBeNull()
  expect(variable.bind({ a: null }).after).toBeNull()
  const byDefault = planned(
    'subscription ($a: String = "c3") { allocationUpdated(after: $a) { cursor } }',
  )
  expect(byDefault.bind({}).after).toBe('c3')
})

test('other arguments and aliases stay, through fragments as well', () => {
  const it = planned(
    `subscription S($id: ID) { ...F }
     fragment F on Subscription { x: allocationUpdated(allocationId: $id, after: "c") { ...G } }
     fragment G on AllocationUpdate { cursor event { id } }
     query Other { viewer { roles } }`,
    'S',
  )
  expect(it.durable?.fieldName).toBe('x')
  expect(it.node.primary.operation).toMatch(
    /x:allocationUpdated\(allocationId:\$id after:\$berthAfter\)/,
  )
  expect(it.bind({ id: 'alc_1' })).toEqual({ variables: { id: 'alc_1' }, after: 'c' })
})

test('its names give way to the client’s', () => {
  const it = planned(
    'subscription ($berthAfter: ID) { allocationUpdated(allocationId: $berthAfter) { berthCursor: cursor } }',
  )
  expect(it.durable).toMatchObject({ afterVariable: 'berthAfter_', cursorName: 'berthCursor_' })
  expect(it.bind({ berthAfter: 'alc_1' }).variables).toEqual({ berthAfter: 'alc_1' })
})

test('an alias that is the name of a field has another in the event, as the executor expects', () => {
  const it = planned(
    'subscription ($representations: ID) { cost: allocationUpdated(allocationId: $representations) { allocation { id: name cost { amount } } } }',
  )
  const { operation } = it.node.primary
  expect(operation).not.toMatch(/\bid:name/)
  expect(operation).toContain(`${it.durable?.fieldName}:allocationUpdated`)
  expect(it.durable?.fieldName).not.toBe('cost')
  expect(Object.values(it.bind({ representations: 'alc_1' }).variables)).toEqual(['alc_1'])
  expect(it.variableNames).toEqual(['representations'])
})

test('a stream without positions is subscribed to as it is', () => {
  const it = planned('subscription { ticks { number } }')
  expect(it.durable).toBeNull()
  expect(it.node.primary.operation).toBe('subscription{ticks{number}}')
})

test('variables that do not fit are refused before anyone is asked', () => {
  const it = planned('subscription ($id: ID!) { allocationUpdated(allocationId: $id) { cursor } }')
  expect(() => it.bind({})).toThrow(AggregateError)
  expect(() => it.bind({ id: {} })).toThrow(AggregateError)
})

test.each(['@skip(if: false)', '@include(if: true)'])('its field takes no %s', (directive) => {
  expect(() => planned(`subscription { ticks ${directive} { number } }`)).toThrow('no directives')
})

function planned(source: string, operationName?: string) {
  const document = parse(source)
  expect(
    validate(graph.schema, document).filter((it) => !/unused|never used/.test(it.message)),
  ).toEqual([])
  const definition = getOperationAST(document, operationName)
  if (!definition) throw new TypeError('no operation')
  return plan(document, definition)
}
