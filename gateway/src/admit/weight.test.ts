import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createMetrics } from '@berth/platform/metrics'
import { getOperationAST } from 'graphql'
import { expect, test } from 'vitest'
import type { Credentials } from '../federation/credentials.ts'
import { createExecutor, type Execution } from '../federation/executor.ts'
import { createFlights } from '../federation/flights.ts'
import { buildGraph } from '../federation/graph.ts'
import { createDocuments, weightOf, weightOfPlan } from './documents.ts'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

const SILENT = new Proxy({}, { get: () => () => SILENT }) as Execution['context']['log']
const graph = buildGraph(
  readFileSync(new URL('../../../schema/supergraph.graphql', import.meta.url), 'utf8'),
)
const ALLOCATION = 'name cost { amount } slots { index gpuModel { name } } createdBy { name }'

/** Each is another document for each number. */
const KINDS: Readonly<Record<string, (n: number) => string>> = {
  'one field': (n) => `query A${n} { viewer { roles } }`,
  'one request': (n) => `query B${n} { offers { nodes { a${n}: id region { code } available } } }`,
  'requests for entities': (n) =>
    `query C${n} { inbox { nodes { allocation { ${ALLOCATION} } } } }`,
  'requests for entities of each of many aliases': (n) =>
    `query D${n} { ${Array.from({ length: 8 }, (_, i) => `a${i}: inbox { nodes { allocation { ${ALLOCATION} } } }`)} }`,
  fragments: (n) =>
    `query E${n} { a: inbox { nodes { ...N } } b: inbox { nodes { ...N } } }
     fragment N on Notification { id allocation { ...A } } fragment A on Allocation { ${ALLOCATION} }`,
  'a long comment': (n) => `# ${'x'.repeat(30_000)}\n query F${n} { viewer { roles } }`,
  'a long comment beyond Latin': (n) =>
    `# ${'λ'.repeat(15_000)}\n query G${n} { viewer { roles } }`,
}

test.each(Object.entries(KINDS))(
  '%s: its weight is about the heap that it takes',
  async (_name, kind) => {
    const measure = createMeasure()
    await measure(kind, 0, 30)
    const { heap, weight } = await measure(kind, 30, 130)
    // Within 1.5, alone in a process; what else comes to the heap of a test meanwhile is not told apart.
    expect(weight / heap).toBeGreaterThan(1 / 2)
    expect(weight / heap).toBeLessThan(2)
  },
)

const credentials = { isAlone: true, narrow: () => credentials } as unknown as Credentials
const context = { actor: {}, credentials, log: SILENT } as unknown as Execution['context']

/** Documents are opened and run, and kept: by how much that makes the heap larger. */
function createMeasure() {
  const metrics = createMetrics({ service: 'test' })
  const documents = createDocuments(graph.schema, { hideSchema: false, metrics, maxBytes: 2 ** 31 })
  let weight = 0
  const executor = createExecutor({
    graph,
    onPlanned(document, fetches) {
      weight += weightOf(document) + weightOfPlan(fetches)
    },
    clients: Object.fromEntries(
      graph.subgraphs.map((it) => [it, { ask: async () => ({ data: null }) }]),
    ),
    authorityOf: () => 'PERSON',
    flights: createFlights({ metrics })(),
    metrics,
    log: SILENT,
  })
  return async (kind: (n: number) => string, from: number, to: number) => {
    const before = heapUsed()
    weight = 0
    for (let n = from; n < to; n++) {
      // As it comes from a request, and not as a rope of what it was put together from.
      const document = documents.open(Buffer.from(kind(n)).toString())
      const definition = getOperationAST(document)
      if (!definition) throw new TypeError('no operation')
      const of = { source: '', document, definition, operationName: null, variables: {}, context }
      // From its second run on it is there in another form as well.
      await executor.execute(of)
      await executor.execute(of)
    }
    const heap = heapUsed() - before
    // What is measured is there until it was.
    expect(documents.hottest(1)).toHaveLength(1)
    expect(executor.execute).toBeDefined()
    return { heap, weight }
  }
}

function heapUsed(): number {
  collect()
  collect()
  return process.memoryUsage().heapUsed
}
