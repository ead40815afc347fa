import type { IncomingHttpHeaders } from 'node:http'
import type { Actor } from '@berth/platform/actor'
import type { HttpServer, Routes } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Admit } from '../admit/admit.ts'
import type { ReadDocument } from '../admit/reading.ts'
import type { Standings } from '../authentication/standing.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { Executor } from '../federation/executor.ts'
import type { OpenSubscription } from '../subscriptions/open.ts'
import type { Planner } from '../subscriptions/plan.ts'
import { CONNECTION_LIMITS, type ConnectionLimits, createConnections } from './connections.ts'
import { createOperations } from './operations.ts'
import { createSessions, SESSION_LIMITS, type SessionLimits } from './session.ts'
import { createEventStreams } from './sse.ts'
import { SOCKET_LIMITS, type SocketLimits, serveWebSockets } from './websocket.ts'

/** What clients that stay connected are held to; what is not said is as usual. */
export type FaceLimits = Partial<ConnectionLimits & SessionLimits & SocketLimits>

export type Faces = {
  /** Those of server-sent events. */
  readonly routes: Routes
  /**
   * Takes WebSockets on this server.
   *
   * @returns what tells every client, of either face, to connect elsewhere
   */
  serve(http: Pick<HttpServer, 'server' | 'clientAddress'>): () => Promise<void>
}

/** The faces of clients that stay connected: the same operations, limits and standing behind each. */
export function createFaces({
  standings,
  readDocument,
  admit,
  planner,
  executor,
  openSubscription,
  credentialsFor,
  allowedOrigins,
  forwardedHeaders = [],
  limits: given = {},
  log,
  metrics,
}: {
  standings: Standings
  readDocument: ReadDocument
  admit: Admit
  planner: Planner
  executor: Pick<Executor, 'execute'>
  openSubscription: OpenSubscription
  /** What subgraphs are told of whoever asks over a connection that was opened with these headers. */
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  allowedOrigins: readonly string[]
  /** That pages of those may send as well, in lower case. */
  forwardedHeaders?: readonly string[]
  limits?: FaceLimits
  log: Log
  metrics: Metrics
}): Faces {
  const limits = { ...CONNECTION_LIMITS, ...SESSION_LIMITS, ...SOCKET_LIMITS, ...given }
  const connections = createConnections({ limits, metrics })
  const operations = createOperations({
    readDocument,
    admit,
    planner,
    executor,
    openSubscription,
    log,
    metrics,
  })
  const shared = { connections, credentialsFor, allowedOrigins, limits, log, metrics }
  const sessions = createSessions({ standings, operations, limits, log, metrics })
  const eventStreams = createEventStreams({ ...shared, forwardedHeaders, standings, operations })

  return {
    routes: eventStreams.routes,
    serve(http) {
      const closeSockets = serveWebSockets({ ...shared, http, sessions })
      return async () => {
        eventStreams.close()
        await closeSockets()
      }
    },
  }
}
