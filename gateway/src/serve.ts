import type { IncomingHttpHeaders } from 'node:http'
import type { Actor } from '@berth/platform/actor'
import type { ReadinessChecks } from '@berth/platform/health'
import { type HttpServer, type Routes, startHttp } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Revocations } from '@berth/platform/revocations'
import type { Admit } from './admit/admit.ts'
import { createDocuments } from './admit/documents.ts'
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
import { NO_TRUSTED_DOCUMENTS, type TrustedDocuments } from './http/trusted-documents.ts'
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
  readonly upstreams: Upstreams
  readonly authorityOf: (graph: Graph) => AuthorityOf
  readonly authenticate: Authenticate
  readonly standings: Standings
  readonly revocations?: Revocations
  /** What subgraphs are told of whoever sent these headers. */
  readonly credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  readonly admit: Admit
  /** Whether the schema is kept from those who may not ask for it. */
  readonly hideSchema: boolean
  readonly allowedOrigins: readonly string[]
  /** Whether fields that take `after` and give a `cursor` are streams with positions. */
  readonly durableStreams?: boolean
  readonly streamLimits?: StreamLimits | undefined
  readonly faceLimits?: FaceLimits | undefined
  readonly routes?: Routes
  readonly ready: (graph: () => Graph) => ReadinessChecks
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
  const { durableStreams = true } = options

  const source = createGraphSource({
    graph: options.graph,
    trusted,
    log,
    metrics,
    partsOf(graph, onRead) {
      const authorityOf = options.authorityOf(graph)
      const clients = options.clientsOf(graph)
      // Not shared with the graph of before: equal operations may be answered otherwise.
      const flights = createFlights({ metrics })
      return {
        documents: createDocuments(graph.schema, { hideSchema, metrics, onRead }),
        executor: createExecutor({ graph, clients, authorityOf, flights, metrics, log }),
        planner: createPlanner(graph, authorityOf, { durableStreams }),
      }
    },
  })
  const { documents, executor, planner } = source

  const apollo = createApolloServer({ executor, documents, admit, hideSchema, log, metrics })
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
  source.onChange((generation) => hub.reload(streamGraph(generation)))

  const faces = createFaces({
    standings,
    documents,
    admit,
    planner,
    executor,
    openSubscription: hub.open,
    credentialsFor,
    allowedOrigins,
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
      ...graphqlRoutes({ apollo, lane, authenticate, credentialsFor, allowedOrigins }),
      ...faces.routes,
      ...options.routes,
    },
    ready: options.ready(() => source.current.graph),
    drainSeconds: options.drainSeconds,
  })
  const closeSockets = faces.serve(http.server)
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
function streamGraph({ graph, planner, executor }: Generation) {
  return { schema: graph.schema, planner, executor }
}
