import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { Kind, type OperationDefinitionNode } from 'graphql'
import { createExecutor, type Execution, type Executor } from '../src/federation/executor.ts'
import { createFlights } from '../src/federation/flights.ts'
import { createStock } from '../src/federation/stock.ts'
import { createClients, type TestContext } from './client.ts'
import type { OpenGraph, State } from './graph.ts'
import { type Operation, type Outcome, shownOf } from './oracle.ts'

export type Lane = (operation: Operation) => Promise<Outcome>

/** The gateway's executor over subgraphs in this process. */
export function ourLane(open: OpenGraph): { run: Lane; metrics: Metrics } {
  const metrics = createMetrics({ service: 'test' })
  const executor = createExecutor({
    graph: open.graph,
    clients: createClients(open),
    authorityOf: () => 'PERSON',
    flights: createFlights({ metrics })(),
    metrics,
    log: SILENT,
  })
  return { run: laneOf(executor.execute), metrics }
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
