import { isDeepStrictEqual } from 'node:util'
import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { Kind, type OperationDefinitionNode } from 'graphql'
import type { Answer } from '../src/federation/answers.ts'
import { createExecutor, type Execution, type Executor } from '../src/federation/executor.ts'
import { createFlights } from '../src/federation/flights.ts'
import { createStock } from '../src/federation/stock.ts'
import { createClients, type TestContext } from './client.ts'
import type { OpenGraph, State } from './graph.ts'
import { type Operation, type Outcome, shownOf } from './oracle.ts'

export type Lane = (operation: Operation) => Promise<Outcome>

/** How often an operation runs that `metrics` counts. */
export const RUNS = 2

export type OurLane = { readonly run: Lane; readonly metrics: Metrics; readonly counts: Counts }

/** How often answers of subgraphs were passed on as text, of so many operations. */
export type Counts = { total: number; spliced: number }

/** How often what can be spliced runs again, something else being wrong with the answers each time. */
const SPOILED = 16

/**
 * The gateway's executor over subgraphs in this process. Each operation runs as it would, twice, and
 * with every answer parsed; where it is spliced, also over subgraphs that answer wrongly.
 *
 * @throws {Error} from the lane when it is not the same, or other things are asked
 */
export function ourLane(open: OpenGraph): OurLane {
  const metrics = createMetrics({ service: 'test' })
  const counts: Counts = { total: 0, spliced: 0 }
  const asItIs = executorOf(open, { isParsed: false, metrics })
  const parsed = executorOf(open, { isParsed: true, metrics: createMetrics({ service: 'parsed' }) })
  const execute: Executor['execute'] = async (of) => {
    const { state } = of.context as TestContext
    // The first run of an operation is not as those after it.
    await asItIs.execute({ ...of, context: contextOf({ ...state, asks: [], effects: [] }) })
    const answer = await checked(of, state)
    counts.total++
    if (answer.dataBytes === undefined) return answer
    counts.spliced++
    for (let spoiledBy = 0; spoiledBy < SPOILED; spoiledBy++) {
      await checked(of, { ...state, spoiledBy, asks: [], effects: [] })
    }
    return answer
  }
  async function checked(of: Execution, state: State): Promise<Answer> {
    const answer = await asItIs.execute({ ...of, context: contextOf(state) })
    const again = { ...state, asks: [], effects: [] }
    const other = await parsed.execute({ ...of, context: contextOf(again) })
    const [one, two] = [told(answer, state), told(other, again)]
    if (isDeepStrictEqual(one, two)) return answer
    throw new Error(`parsed, it is not the same: ${JSON.stringify({ state, one, two }, null, 1)}`)
  }
  return { run: laneOf(execute), metrics, counts }
}

/** In which order subgraphs answer, and so errors come, is chance. */
function told({ dataText, errors }: Answer, { asks }: State) {
  return {
    dataText,
    errors: errors.map((it) => JSON.stringify(shownOf(it))).sort(),
    asks: asks.sort(),
  }
}

function executorOf(
  open: OpenGraph,
  { isParsed, metrics }: { isParsed: boolean; metrics: Metrics },
): Executor {
  return createExecutor({
    graph: open.graph,
    clients: createClients(open, { isParsed }),
    authorityOf: () => 'PERSON',
    flights: createFlights({ metrics })(),
    metrics,
    log: SILENT,
  })
}

/** The executor of @apollo/gateway over the same. */
export function stockLane(open: OpenGraph): Lane {
  const stock = createStock({ graph: open.graph, clients: createClients(open), log: SILENT })
  return laneOf(stock.execute)
}

function laneOf(execute: Executor['execute']): Lane {
  return async ({ source, document, variables }) => {
    const definition = document.definitions.find(
      (it): it is OperationDefinitionNode => it.kind === Kind.OPERATION_DEFINITION,
    )
    if (!definition) throw new TypeError('no operation')
    const context = contextOf({ effects: [], asks: [], pace: source.length * 3 })
    const of: Execution = { source, document, definition, operationName: null, variables, context }
    const { dataText, errors } = await execute(of)
    return { dataText, errors: errors.map(shownOf) }
  }
}

const SILENT = new Proxy({}, { get: () => () => SILENT }) as Execution['context']['log']

function contextOf(state: State): TestContext {
  const credentials: TestContext['credentials'] = {
    sharingKey: '',
    narrow: () => credentials,
    headers: () => ({}),
    subscription: async () => ({
      extensions: {},
      socketKey: '',
      socketHeaders: {},
      expiresAt: null,
    }),
  }
  return {
    actor: { kind: 'anonymous', organizationId: null } as unknown as TestContext['actor'],
    credentials,
    clientIp: '127.0.0.1',
    requestId: 'test',
    traceparent: '',
    idempotencyKey: null,
    log: SILENT,
    state,
  }
}
