import { operationFromDocument } from '@apollo/federation-internals'
import { buildOperationContext, executeQueryPlan, type GraphQLDataSource } from '@apollo/gateway'
import type { QueryPlan } from '@apollo/query-planner'
import type { Log } from '@berth/platform/log'
import {
  type DocumentNode,
  type ExecutionResult,
  Kind,
  type OperationDefinitionNode,
} from 'graphql'
import { type SubgraphAnswer, withKnownErrors } from './answers.ts'
import { createDataSource } from './data-source.ts'
import type { Answer, Execution, Hydration } from './executor.ts'
import type { Graph } from './graph.ts'
import type { SubgraphClients } from './transport/subgraph-client.ts'

export type Stock = {
  execute(of: Execution): Promise<Answer>
  hydrate(event: SubgraphAnswer, of: Hydration): Promise<Answer>
}

/** The executor of @apollo/gateway, for what is not compiled. */
export function createStock({
  graph,
  clients,
  log,
}: {
  graph: Graph
  clients: SubgraphClients
  log: Log
}): Stock {
  const logger = apolloLog(log)
  const sources: Record<string, GraphQLDataSource> = Object.fromEntries(
    Object.entries(clients).map(([service, client]) => [
      service,
      createDataSource(service, client),
    ]),
  )
  const plans = new WeakMap<OperationDefinitionNode, QueryPlan>()

  return {
    execute({ document, definition, variables, context }) {
      const alone = aloneIn(document, definition)
      let plan = plans.get(definition)
      if (!plan) {
        plan = graph.planner.buildQueryPlan(operationFromDocument(graph.api, alone, {}))
        plans.set(definition, plan)
      }
      return run(plan, sources, { document: alone, variables, context })
    },
    hydrate(event, { node: { primary, rest }, document, definition, variables, context }) {
      let isAnswered = false
      // The executor refuses to run a Subscription node: it is given a sequence instead, whose first
      // fetch the event answers.
      const answeredByEvent: GraphQLDataSource = {
        async process(options) {
          if (isAnswered || options.request.query !== primary.operation) {
            return required(sources, primary.serviceName).process(options)
          }
          isAnswered = true
          // Cloned, because the executor writes what it adds into what it is given.
          return withKnownErrors(primary.serviceName, structuredClone(event))
        },
      }
      const node = { kind: 'Sequence', nodes: rest ? [primary, rest] : [primary] } as const
      return run(
        { kind: 'QueryPlan', node: { ...node, nodes: [...node.nodes] } },
        { ...sources, [primary.serviceName]: answeredByEvent },
        { document: aloneIn(document, definition), variables, context },
      )
    },
  }

  async function run(
    plan: QueryPlan,
    serviceMap: Record<string, GraphQLDataSource>,
    { document, variables, context }: Pick<Hydration, 'document' | 'variables' | 'context'>,
  ): Promise<Answer> {
    const request = { request: { variables: { ...variables } }, context, metrics: {}, logger }
    const result = await executeQueryPlan(
      plan,
      serviceMap,
      request as unknown as Parameters<typeof executeQueryPlan>[2],
      buildOperationContext({ schema: graph.schema, operationDocument: document }),
      graph.supergraph,
      graph.api,
    )
    return answerOf(result as ExecutionResult)
  }
}

function required(sources: Record<string, GraphQLDataSource>, name: string): GraphQLDataSource {
  const source = sources[name]
  if (!source) throw new TypeError(`no client for the subgraph ${name}`)
  return source
}

/** The operation without the others of its document. */
function aloneIn(document: DocumentNode, definition: OperationDefinitionNode): DocumentNode {
  const fragments = document.definitions.filter((it) => it.kind === Kind.FRAGMENT_DEFINITION)
  return { ...document, definitions: [definition, ...fragments] }
}

/** A null where the schema allows none is an error, wherever the executor puts it. */
function answerOf({ data, errors, extensions }: ExecutionResult): Answer {
  const { valueCompletion } = extensions ?? {}
  const told = errors ?? (Array.isArray(valueCompletion) ? valueCompletion : [])
  return { dataText: data === undefined ? undefined : JSON.stringify(data), errors: told }
}

/** Apollo tells of its start at `info`; that is detail here. */
function apolloLog(log: Log) {
  const at = (level: 'debug' | 'warn' | 'error') => (message: unknown) =>
    log[level](String(message))
  return { debug: at('debug'), info: at('debug'), warn: at('warn'), error: at('error') }
}
