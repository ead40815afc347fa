import { readFileSync } from 'node:fs'
import { anonymous } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { getOperationAST, type OperationDefinitionNode, parse, validate } from 'graphql'
import { expect, test, vi } from 'vitest'
import { createClients } from '../../test-graphs/client.ts'
import { openGraph } from '../../test-graphs/graph.ts'
import { hardPlans } from '../../test-graphs/graphs/hard-plans.ts'
import { interfaceObject } from '../../test-graphs/graphs/interface-object.ts'
import { checkShape, LIMITS, measure } from '../admit/limits.ts'
import { createPlanningBudget } from '../admit/planning-budget.ts'
import { createAuthorityOf } from '../authority.ts'
import type { GatewayContext } from '../context.ts'
import { createPlanner } from '../subscriptions/plan.ts'
import { createCompiler } from './compiled/compile.ts'
import { NotPlanned } from './compiled/not-compiled.ts'
import type { Credentials } from './credentials.ts'
import { createExecutor } from './executor.ts'
import { buildGraph, type Graph } from './graph.ts'
import { fetchesIn, PLAN_LIMITS, planOf } from './planning.ts'

const platform = buildGraph(
  readFileSync(new URL('../../../schema/supergraph.graphql', import.meta.url), 'utf8'),
)
const persons = openGraph(interfaceObject)
const items = openGraph(hardPlans)

const many = (count: number, of: (index: number) => string) =>
  Array.from({ length: count }, (_, i) => of(i)).join(' ')

const ALLOCATION = `fragment A on Allocation {
  name cost { amount } slots { index gpuModel { ...G } } createdBy { name } region { name } gpuModel { ...G } }
  fragment G on GpuModel { name pricePerHour { amount } }`

/** Each is valid, and within what an operation may be: only planning tells what it costs. */
const HOSTILE: readonly (readonly [name: string, graph: Graph, source: string])[] = [
  [
    'entities under each of many aliases',
    platform,
    `{ inbox { nodes { ${many(50, (i) => `a${i}: allocation { name cost { amount } slots { index gpuModel { name pricePerHour { amount } } } createdBy { name } region { name } }`)} } } }`,
  ],
  [
    'few tokens that are many fields',
    platform,
    `{ ${many(20, (i) => `a${i}: inbox { ...I }`)} } ${ALLOCATION}
      fragment I on NotificationConnection { nodes { allocation { ...A } } edges { node { allocation { ...A } } } }`,
  ],
  [
    'a condition on each of many entities',
    platform,
    `query (${many(10, (i) => `$v${i}: Boolean!`)}) { allocations { nodes {
      ${many(48, (i) => `a${i}: slots @skip(if: $v${i % 10}) { gpuUuid gpuModel { name pricePerHour { amount } } }`)} } } }`,
  ],
  [
    'conditions within each other',
    platform,
    `query (${many(10, (i) => `$v${i}: Boolean!`)}) { inbox { nodes { allocation { ...A0 } } } }
      ${many(45, (i) => `fragment A${i} on Allocation { name cost { amount } slots { index gpuModel { name } } ...A${i + 1} @skip(if: $v${i % 10}) }`)}
      fragment A45 on Allocation { cost { amount } }`,
  ],
  [
    'inline fragments within each other',
    platform,
    `{ ${'... on Query {'.repeat(390)} offers { nodes { gpuModel { name pricePerHour { amount } } } } ${'}'.repeat(390)} }`,
  ],
  [
    'fragments that are alike',
    platform,
    `{ inbox { nodes { allocation { ${many(60, (i) => `...A${i}`)} } } } }
      ${many(60, (i) => `fragment A${i} on Allocation { name cost { amount } slots { index gpuModel { name pricePerHour { amount } } } createdBy { name } region { name } }`)}`,
  ],
  [
    'mutations, each followed by entities',
    platform,
    `mutation { ${many(20, (i) => `a${i}: allocationRelease(input: { id: "1" }) { allocation { name cost { amount } slots { index gpuModel { name pricePerHour { amount } } } createdBy { name } region { name } } }`)} }`,
  ],
  [
    'fields of interface objects, in types that know some of them',
    persons.graph,
    `{ ${many(6, (i) => `r${i}: ranking { ...P boss { ...P boss { ...P } } peer { ...P } }`)} }
      fragment P on Person { name level notes score shout team { id members { id name level shout } }
        ... on Staff { salary level shout boss { level score } } ... on Guest { until notes shout boss { level shout } } }`,
  ],
  [
    'keys that lead to keys',
    persons.graph,
    `{ levelled { ${'team { members { peer { boss { '.repeat(2)} shout level ... on Staff { salary score } ... on Guest { until shout } ${'} } } }'.repeat(2)} } }`,
  ],
  [
    'requirements of requirements',
    items.graph,
    `{ ${many(12, (i) => `i${i}: items { label shipping shout eur price grams ${many(3, (j) => `a${i}${j}: shout`)} }`)} }`,
  ],
]

test.each(HOSTILE)(
  '%s: it is planned within bounds or refused, and an innocent query is planned after it',
  (_name, graph, source) => {
    const { document, definition } = open(graph, source)
    const compiler = createCompiler({ graph, clients: clientsOf(graph), onTry: () => {} })
    const conditions = Object.fromEntries(
      (definition.variableDefinitions ?? []).map((it) => [it.variable.name.value, false]),
    )
    try {
      compiler.operation(document, definition, conditions)
    } catch (error) {
      if (!(error instanceof NotPlanned)) throw error
      expect(error.refusal).toMatchObject({
        code: expect.stringMatching(/^(TOO_COMPLEX|BAD_INPUT)$/),
      })
      if (error.refusal.code === 'TOO_COMPLEX') expect(error.refusal.message).toMatch(/at most \d+/)
    }
    expect(graph.planner.lastGeneratedPlanStatistics()?.evaluatedPlanCount).toBeLessThanOrEqual(
      PLAN_LIMITS.evaluated * LIMITS.rootFields,
    )
    const innocent = open(graph, '{ __typename }')
    expect(compiler.operation(innocent.document, innocent.definition, {})).toBeDefined()
  },
)

test('a plan of too many requests is refused with both numbers, one of fewer is not', () => {
  const source = (count: number) =>
    `{ ${many(count, (i) => `a${i}: inbox { nodes { allocation { ...A } } }`)} } ${ALLOCATION}`
  expect(fetchesIn(planOf(platform, parse(source(10))))).toBeLessThanOrEqual(PLAN_LIMITS.fetches)
  expect(() => planOf(platform, parse(source(20)))).toThrow(
    expect.objectContaining({
      code: 'TOO_COMPLEX',
      message: expect.stringMatching(/: 1\d\d requests to subgraphs \(at most 100\)$/),
    }),
  )
})

test.each([
  [new RangeError('Invalid array length'), 'TOO_COMPLEX'],
  [new RangeError('Maximum call stack size exceeded'), 'TOO_COMPLEX'],
  [new Error('Number of non-local selections exceeds limit of 100000'), 'TOO_COMPLEX'],
  [new Error('Too many options generated for x, reached the limit of 1000'), 'TOO_COMPLEX'],
  [new TypeError('Cannot read properties of undefined'), 'INTERNAL'],
])('%s of the planner is told as %s', (thrown, code) => {
  const planner = {
    buildQueryPlan() {
      throw thrown
    },
  } as unknown as Graph['planner']
  expect(() => planOf({ api: platform.api, planner }, parse('{ inboxCounts { unseen } }'))).toThrow(
    expect.objectContaining({ code }),
  )
})

test('a subscription that has no plan is planned once, however often it is sent', () => {
  const planner = createPlanner(platform, createAuthorityOf(platform.supergraph))
  const source = `subscription { allocationUpdated { allocation {
    ${many(49, (i) => `a${i}: slots { index gpuModel { name pricePerHour { amount } } }`)}
    cost { amount } createdBy { name } region { name } gpuModel { name pricePerHour { amount } } } } }`
  const { document, definition } = open(platform, source)
  const planning = vi.spyOn(platform.planner, 'buildQueryPlan')
  for (let i = 0; i < 3; i++) {
    expect(() => planner(document, definition)).toThrow(
      expect.objectContaining({ code: 'TOO_COMPLEX' }),
    )
  }
  expect(planning).toHaveBeenCalledTimes(1)
  planning.mockRestore()
})

test('a new subscription is paid for by who asks, and a known one by nobody', () => {
  let used = 0
  const budget = createPlanningBudget({
    now: () => 0,
    usedMs() {
      used += 5_000
      return used
    },
  })
  const planner = createPlanner(platform, createAuthorityOf(platform.supergraph), { budget })
  const [first, second] = ['{ inbox { cursor } }', '{ inbox { counts { unseen } } }'].map((it) =>
    open(platform, `subscription ${it}`),
  )
  if (!first || !second) throw new TypeError('two subscriptions')
  const caller = { actor: anonymous, clientIp: '10.0.0.1' }
  const plan = planner(first.document, first.definition, caller)
  expect(planner(first.document, first.definition, caller)).toBe(plan)
  expect(() => planner(second.document, second.definition, caller)).toThrow(
    expect.objectContaining({ code: 'RATE_LIMITED' }),
  )
  expect(planner(second.document, second.definition)).toBeDefined()
})

test('who has overdrawn the account may send what is known, and no new document', async () => {
  let used = 0
  const budget = createPlanningBudget({
    now: () => 0,
    usedMs() {
      used += 3_000
      return used
    },
  })
  const executor = createExecutor({
    graph: platform,
    clients: clientsOf(platform),
    authorityOf: () => 'PERSON',
    flights: { share: (_key, _caller, run) => run(), wrote: () => undefined },
    budget,
    metrics: createMetrics({ service: 'test' }),
    log: { error: () => undefined } as unknown as Log,
  })
  const opened = ['{ a: __typename }', '{ b: __typename }', '{ c: __typename }'].map((source) => ({
    source,
    operationName: null,
    variables: {},
    ...open(platform, source),
  }))
  const codes = async (clientIp: string) => {
    const answers = opened.map((it) => executor.execute({ ...it, context: contextFrom(clientIp) }))
    return (await Promise.all(answers)).map(({ errors: [it] }) =>
      it instanceof DomainError ? it.code : it,
    )
  }
  const expected = [undefined, undefined, 'RATE_LIMITED']
  expect(await codes('10.0.0.1')).toEqual(expected)
  expect(await codes('10.0.0.1')).toEqual(expected)
  expect(await codes('10.0.0.2')).toEqual([undefined, undefined, undefined])
  expect(await codes('10.0.0.1')).toEqual([undefined, undefined, undefined])
})

/** As a document comes to the planner: read, validated and admitted. */
function open(graph: Graph, source: string) {
  const document = parse(source, { maxTokens: LIMITS.tokens })
  expect(validate(graph.schema, document)).toEqual([])
  const definition = getOperationAST(document) as OperationDefinitionNode
  checkShape(measure(document, definition))
  return { document, definition }
}

function contextFrom(clientIp: string): GatewayContext {
  const credentials = {
    sharingKey: '',
    isAlone: false,
    narrow: () => credentials,
  } as unknown as Credentials
  return { actor: anonymous, clientIp, credentials } as unknown as GatewayContext
}

function clientsOf(graph: Graph) {
  if (graph === persons.graph) return createClients(persons)
  if (graph === items.graph) return createClients(items)
  const ask = async () => ({ data: null })
  return Object.fromEntries(graph.subgraphs.map((it) => [it, { ask }]))
}
