import { createHash } from 'node:crypto'
import {
  ApolloGateway,
  buildOperationContext,
  executeQueryPlan,
  type GraphQLDataSource,
} from '@apollo/gateway'
import type { SubscriptionNode } from '@apollo/query-planner'
import type { ApolloServerOptionsWithGateway } from '@apollo/server'
import type { Log } from '@berth/platform/log'
import type { DocumentNode, ExecutionResult } from 'graphql'
import type { GatewayContext } from '../context.ts'
import { type SubgraphAnswer, withKnownErrors } from './answers.ts'
import type { Graph } from './graph.ts'

/** What runs plans. The rest of the gateway knows no more of it than this. */
export type Executor = {
  /** What Apollo Server runs queries and mutations by, and has to be started by. */
  readonly gateway: Gateway
  /** The same, for faces without Apollo Server. */
  execute(of: Execution): Promise<ExecutionResult>
  /** The answer to one event of a subscription: the event, and what other subgraphs add to it. */
  hydrate(event: SubgraphAnswer, of: Hydration): Promise<ExecutionResult>
}

/** An admitted query or mutation. */
export type Execution = {
  readonly source: string
  readonly document: DocumentNode
  readonly operationName: string | null
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
}

export type Hydration = {
  readonly node: SubscriptionNode
  /** Of one operation, as the client sent it: it decides the shape of the answer. */
  readonly document: DocumentNode
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
}

/** The executor of @apollo/gateway. */
export function createExecutor({
  graph,
  dataSources,
  log,
}: {
  graph: Graph
  dataSources: Readonly<Record<string, GraphQLDataSource>>
  log: Log
}): Executor {
  // biome-ignore lint/style/noProcessEnv: the only switch there is, and nothing may phone home.
  process.env.APOLLO_TELEMETRY_DISABLED = 'true'
  const logger = apolloLog(log)
  const gateway = new ApolloGateway({
    supergraphSdl: graph.sdl,
    buildService: ({ name }) => sourceOf(name),
    validateSupergraph: false,
    serviceHealthCheck: false,
    __exposeQueryPlanExperimental: false,
    logger,
  })

  return {
    gateway: withCompletionErrors(gateway),
    async execute({ source, document, operationName, variables, context }) {
      const named = operationName === null ? {} : { operationName }
      const result = await gateway.executor({
        request: { query: source, variables: { ...variables }, ...named },
        queryHash: createHash('sha256').update(source).digest('hex'),
        document,
        context,
        metrics: {},
        logger,
      } as unknown as Parameters<typeof gateway.executor>[0])
      return completed(result as ExecutionResult)
    },
    async hydrate(event, { node, document, variables, context }) {
      const { primary, rest } = node
      const owner = sourceOf(primary.serviceName)
      let isAnswered = false
      // The executor refuses to run a Subscription node: it is given a sequence instead, whose first
      // fetch the event answers.
      const answeredByEvent: GraphQLDataSource = {
        async process(options) {
          if (isAnswered || options.request.query !== primary.operation)
            return owner.process(options)
          isAnswered = true
          // Cloned, because the executor writes what it adds into what it is given.
          return withKnownErrors(primary.serviceName, structuredClone(event))
        },
      }
      const result = await executeQueryPlan(
        {
          kind: 'QueryPlan',
          node: { kind: 'Sequence', nodes: rest ? [primary, rest] : [primary] },
        },
        { ...dataSources, [primary.serviceName]: answeredByEvent },
        {
          request: { variables: { ...variables } },
          context,
          metrics: {},
          logger,
        } as unknown as Parameters<typeof executeQueryPlan>[2],
        buildOperationContext({ schema: graph.schema, operationDocument: document }),
        graph.supergraph,
        graph.api,
      )
      return completed(result as ExecutionResult)
    },
  }

  function sourceOf(name: string): GraphQLDataSource {
    const source = dataSources[name]
    if (!source) throw new TypeError(`no data source for the subgraph ${name}`)
    return source
  }
}

type Gateway = ApolloServerOptionsWithGateway<GatewayContext>['gateway']

function withCompletionErrors(gateway: ApolloGateway): Gateway {
  return {
    onSchemaLoadOrUpdate: (callback) => gateway.onSchemaLoadOrUpdate(callback),
    stop: () => gateway.stop(),
    async load(options) {
      const { executor } = await gateway.load(options)
      return { executor: async (request) => completed(await executor(request)) }
    },
  }
}

/** A null where the schema allows none is an error, wherever the executor puts it. */
function completed<R extends { errors?: unknown; extensions?: Record<string, unknown> }>(
  result: R,
): R {
  const { valueCompletion, ...extensions } = result.extensions ?? {}
  if (!Array.isArray(valueCompletion) || result.errors) return result
  const { extensions: _, ...rest } = result
  return {
    ...rest,
    errors: valueCompletion,
    ...(Object.keys(extensions).length > 0 ? { extensions } : {}),
  } as unknown as R
}

/** Apollo tells of its start at `info`; that is detail here. */
function apolloLog(log: Log) {
  const at = (level: 'debug' | 'warn' | 'error') => (message: unknown) =>
    log[level](String(message))
  return { debug: at('debug'), info: at('debug'), warn: at('warn'), error: at('error') }
}
