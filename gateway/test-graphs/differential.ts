import { parse } from 'graphql'
import { difference } from './compare.ts'
import { generate } from './generate.ts'
import { type OpenGraph, openGraph, type TestGraph } from './graph.ts'
import { type Lane, ourLane, RUNS, stockLane } from './lanes.ts'
import { createOracle, type Operation } from './oracle.ts'
import { reduce } from './reduce.ts'

/** Disagreements that are reduced to their smallest and told: each takes hundreds of executions. */
const MAX_TOLD = 5

export type Checked = {
  readonly total: number
  readonly compiled: number
  /** Of which what subgraphs answered was passed on as text. */
  readonly spliced: number
  /** Features that kept operations from being compiled. */
  readonly fellBack: readonly string[]
  /** For people: graph, smallest operation, variables and both answers. */
  readonly disagreements: readonly string[]
  /** The operations of those, as they were. */
  readonly disagreeing: readonly string[]
  /** Operations for which there is no plan. */
  readonly unplanned: readonly string[]
}

/** Runs a graph's operations, picked and generated, on the gateway's executor and on the oracle. */
export async function checkGraph(
  definition: TestGraph,
  { seed, generated }: { seed: number; generated: number },
): Promise<Checked> {
  const open = openGraph(definition)
  const { run, metrics, counts: lanes } = ourLane(open)
  const operations = [...picked(definition), ...generate(open, { seed, count: generated })]
  const differs = compareWith(open, run)
  const disagreements: string[] = []
  const disagreeing: string[] = []
  const unplanned: string[] = []
  for (const operation of operations) {
    try {
      if (!(await differs(operation))) continue
    } catch (error) {
      unplanned.push(`${operation.source}: ${error}`)
      continue
    }
    disagreeing.push(operation.source)
    if (disagreements.length < MAX_TOLD) disagreements.push(operation.source)
  }
  const counts = { ...(await countsOf(metrics)), spliced: lanes.spliced }
  const told: string[] = []
  for (const source of disagreements) {
    const operation = operations.find((it) => it.source === source)
    if (operation) told.push(await tell(open, operation, differs))
  }
  return { total: operations.length, ...counts, disagreements: told, disagreeing, unplanned }
}

/** What the executor of @apollo/gateway answers otherwise than the oracle. */
export async function stockDisagreements(
  definition: TestGraph,
  { seed, generated }: { seed: number; generated: number },
): Promise<{ picked: readonly string[]; kinds: readonly string[] }> {
  const open = openGraph(definition)
  const differs = compareWith(open, stockLane(open))
  const kindOf = async (operation: Operation) => {
    const difference = await differs(operation).catch(() => 'nothing is answered')
    return difference?.split(':')[0]?.replace(/ at .*/, '') ?? null
  }
  const sources: string[] = []
  for (const operation of picked(definition)) {
    if (await kindOf(operation)) sources.push(operation.source)
  }
  const kinds = new Set<string>()
  for (const operation of generate(open, { seed, count: generated })) {
    const kind = await kindOf(operation)
    if (kind) kinds.add(kind)
  }
  return { picked: sources, kinds: [...kinds].sort() }
}

type Differs = (operation: Operation) => Promise<string | null>

function compareWith(open: OpenGraph, lane: Lane): Differs {
  const oracle = createOracle(open)
  return async (operation) => difference(oracle(operation), await lane(operation))
}

async function tell({ definition, graph }: OpenGraph, operation: Operation, differs: Differs) {
  const kindOf = async (it: Operation) => (await differs(it).catch(() => null))?.split(':')[0]
  const kind = await kindOf(operation)
  const smallest = await reduce(operation, graph.schema, async (it) => (await kindOf(it)) === kind)
  return [
    `${definition.name}: ${smallest.source.replaceAll(/\s+/g, ' ')}`,
    `variables ${JSON.stringify(smallest.variables)}`,
    await differs(smallest),
    `as generated: ${operation.source} ${JSON.stringify(operation.variables)}`,
  ].join('\n')
}

function picked({ operations }: TestGraph): Operation[] {
  return operations.map((it) => {
    const { source, variables = {} } = typeof it === 'string' ? { source: it } : it
    return { source, variables, document: parse(source, { noLocation: true }) }
  })
}

async function countsOf({ registry }: ReturnType<typeof ourLane>['metrics']) {
  const lanes = await registry.getSingleMetric('berth_gateway_operations_total')?.get()
  const features = await registry.getSingleMetric('berth_gateway_not_compiled_total')?.get()
  // What is refused for its variables is run in no lane.
  const stock = lanes?.values.find(({ labels }) => labels.lane === 'stock')?.value ?? 0
  const ran = lanes?.values.find(({ labels }) => labels.lane === 'compiled')?.value ?? 0
  return {
    compiled: ran / RUNS,
    stock: stock / RUNS,
    fellBack: features?.values.map(({ labels }) => String(labels.feature)) ?? [],
  }
}
