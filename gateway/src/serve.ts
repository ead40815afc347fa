import type { IncomingHttpHeaders } from 'node:http'
import type { Actor } from '@berth/platform/actor'
import type { ClientAddress } from '@berth/platform/client-address'
import type { ReadinessChecks } from '@berth/platform/health'
import { type HttpHandler, type HttpServer, type Routes, startHttp } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Revocations } from '@berth/platform/revocations'
import type { Admit } from './admit/admit.ts'
import type { Costs } from './admit/costs.ts'
import { createDocuments } from './admit/documents.ts'
import { type PlanningBudget, UNLIMITED_PLANNING } from './admit/planning-budget.ts'
import { NO_RATES, type Rates } from './admit/rates.ts'
import { createReadDocument } from './admit/reading.ts'
import { NO_TRUSTED_DOCUMENTS, type TrustedDocuments } from './admit/trusted-documents.ts'
import type { Authenticate } from './authentication/authenticate.ts'
import type { Standings } from './authentication/standing.ts'
import type { AuthorityOf } from './authority.ts'
import type { Credentials } from './federation/credentials.ts'
import { createExecutor } from './federation/executor.ts'
import { createFlights } from './federation/flights.ts'
import type { Graph } from './federation/graph.ts'
import { createGraphSource, type Generation } from './federation/graph-source.ts'
import type { SubgraphClient } from './federation/transport/subgraph-client.ts'
import { watchFile } from './federation/watch-file.ts'
import { createApolloServer } from './http/apollo.ts'
import { graphqlRoutes } from './http/graphql.ts'
import { createLane } from './http/lane.ts'
import { createFaces, type FaceLimits } from './sockets/faces.ts'
import { createHub, type StreamLimits } from './subscriptions/hub.ts'
import { createPlanner } from './subscriptions/plan.ts'
import type { Upstreams } from './subscriptions/upstreams.ts'

/** What differs between gateways: who asks, what subgraphs are told of them, and where those are. */
export type ServeOptions = {
  readonly graph: Graph
  /** Where its SDL is from: what is written there later is served from then on. */
  readonly file?: string | undefined
  readonly trusted?: TrustedDocuments
  readonly clientsOf: (graph: Graph) => Readonly<Record<string, SubgraphClient>>
  /** Told of the graph that is served, and of each later one before anything is opened in it. */
  readonly onServed?: (graph: Graph) => void
  readonly upstreams: Upstreams
  readonly authorityOf: (graph: Graph) => AuthorityOf
  readonly authenticate: Authenticate
  readonly standings: Standings
  readonly revocations?: Revocations
  /** What subgraphs are told of whoever sent these headers. */
  readonly credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  readonly admit: Admit
  /** Those that `admit` asks. */
  readonly costs: Costs
  /** What counts documents that are refused; without it they are not counted. */
  readonly rates?: Rates
  /** Of which callers pay for operations that are new; without it they need not. */
  readonly budget?: PlanningBudget
  /** Whether the schema is kept from those who may not ask for it. */
  readonly hideSchema: boolean
  readonly allowedOrigins: readonly string[]
  /** That pages of those may send beside the gateway's own, in lower case. */
  readonly forwardedHeaders?: readonly string[]
  /** For people who open the address of the graph. */
  readonly page: HttpHandler
  /** Whether fields that take `after` and give a `cursor` are streams with positions. */
  readonly durableStreams?: boolean
  readonly streamLimits?: StreamLimits | undefined
  readonly faceLimits?: FaceLimits | undefined
  readonly routes?: Routes
  readonly ready: (graph: () => Graph) => ReadinessChecks
  /** Who asks, behind proxies; the connection's unless said. */
  readonly clientAddress?: ClientAddress
  readonly host: string
  readonly port: number
  readonly drainSeconds: number
  readonly log: Log
  readonly metrics: Metrics
}

/** Serves a supergraph at every face there is; the scope's disposal drains it. */
export async function serveGraph(
  scope: AsyncDisposableStack,
  options: ServeOptions,
): Promise<HttpServer> {
  const { admit, authenticate, standings, credentialsFor, hideSchema, allowedOrigins } = options
  const { upstreams, revocations, log, metrics, trusted = NO_TRUSTED_DOCUMENTS } = options
  const { durableStreams = true, budget = UNLIMITED_PLANNING, forwardedHeaders = [] } = options
  const { rates = NO_RATES } = options

  const flightsOfGraph = createFlights({ metrics })
  const source = createGraphSource({
    graph: options.graph,
    trusted,
    log,
    metrics,
    partsOf(graph, onRead) {
      const authorityOf = options.authorityOf(graph)
      const clients = options.clientsOf(graph)
      const flights = flightsOfGraph()
      const weigh = options.costs.in(graph)
      const documents = createDocuments(graph.schema, {
        hideSchema,
        budget,
        metrics,
        onRead(document) {
          weigh(document)
          onRead(document)
        },
      })
      return {
        documents,
        executor: createExecutor({
          graph,
          clients,
          authorityOf,
          flights,
          budget,
          hideSchema,
          onPlanned: documents.planned,
          metrics,
          log,
        }),
        planner: createPlanner(graph, authorityOf, {
          durableStreams,
          budget,
          hideSchema,
          onPlanned: documents.planned,
        }),
      }
    },
  })
  const { documents, executor, planner } = source
  const readDocument = createReadDocument({ documents, rates })
  options.onServed?.(source.current.graph)

  const apollo = createApolloServer({ executor, readDocument, admit, log, metrics })
  await apollo.start()
  scope.defer(() => apollo.stop())
  const lane = createLane({ source, admit, metrics })

  const hub = scope.adopt(
    createHub({
      graph: streamGraph(source.current),
      upstreams,
      credentialsOf: credentialsFor({}),
      ...(revocations ? { revocations } : {}),
      limits: options.streamLimits ?? {},
      metrics,
      log,
    }),
    (it) => it.close(),
  )
  source.onChange((generation) => {
    options.onServed?.(generation.graph)
    hub.reload(streamGraph(generation))
  })

  const faces = createFaces({
    standings,
    readDocument,
    admit,
    planner,
    executor,
    openSubscription: hub.open,
    credentialsFor,
    allowedOrigins,
    forwardedHeaders,
    ...(options.faceLimits ? { limits: options.faceLimits } : {}),
    log,
    metrics,
  })
  const http = await startHttp({
    host: options.host,
    port: options.port,
    log,
    metrics,
    routes: {
      ...graphqlRoutes({
        apollo,
        lane,
        authenticate,
        credentialsFor,
        allowedOrigins,
        forwardedHeaders,
        page: options.page,
      }),
      ...faces.routes,
      ...options.routes,
    },
    ready: options.ready(() => source.current.graph),
    ...(options.clientAddress ? { clientAddress: options.clientAddress } : {}),
    drainSeconds: options.drainSeconds,
  })
  const closeSockets = faces.serve(http)
  scope.defer(async () => void (await Promise.all([http.close(), closeSockets()])))
  if (options.file) {
    const { file } = options
    const { sdl: known } = options.graph
    scope.defer(watchFile(file, { known, onContent: source.reload, log }))
  }
  log.info({ url: http.url }, 'listening')
  return http
}

/** Of that generation, and not of whichever is served. */
function streamGraph({ graph, documents, planner, executor }: Generation) {
  return { schema: graph.schema, documents, planner, executor }
}
