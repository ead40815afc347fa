import { readFileSync } from 'node:fs'
import { type AssertionSigner, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import type { HttpServer } from '@berth/platform/http'
import { startHttp } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import { createLimiter } from '@berth/platform/limiter'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { loadKeys } from '@berth/platform/trusted-keys'
import { readPolicies } from '@berth/schema/commands/policy'
import { createAdmit } from './admit/admit.ts'
import { createDocuments } from './admit/documents.ts'
import { createRates } from './admit/rates.ts'
import { createActors } from './authentication/actors.ts'
import { bearer, createAuthenticate } from './authentication/authenticate.ts'
import { createIssuer } from './authentication/issuer.ts'
import { createAuthorityOf } from './authority.ts'
import type { gatewayConfig } from './config.ts'
import { createDataSource, type DataSourceLimits } from './federation/data-source.ts'
import { createExecutor } from './federation/executor.ts'
import { buildGraph } from './federation/graph.ts'
import { createApolloServer } from './http/apollo.ts'
import { graphqlRoutes } from './http/graphql.ts'
import { peersReady } from './http/platform-ready.ts'
import { createOpenSubscription, type StreamLimits } from './subscriptions/open.ts'
import { createPlanner } from './subscriptions/plan.ts'
import { createSessions } from './subscriptions/session.ts'
import { createUpstreams } from './subscriptions/upstreams.ts'
import { serveWebSockets } from './subscriptions/websocket.ts'

const SUPERGRAPH = new URL('../../schema/supergraph.graphql', import.meta.url)

export type GatewayOptions = {
  /** The committed one, unless a test brings its own. */
  readonly supergraphSdl?: string
  readonly dataSourceLimits?: DataSourceLimits
  readonly streamLimits?: StreamLimits
  /** Signs who asks with another lifetime. */
  readonly signer?: AssertionSigner
}

/** The whole gateway, on its port; the scope's disposal drains it. */
export async function openGateway(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof gatewayConfig>,
  options: GatewayOptions = {},
): Promise<HttpServer> {
  const clock = systemClock
  const isProduction = config.BERTH_ENV === 'production'
  const { privateJwk } = loadKeys(config.BERTH_KEYS_DIR, 'gateway')
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const commands = createCommandClient({ service: 'gateway', privateJwk, peers, metrics })
  const policy = scope.use(
    createPolicyClient({
      read: (input, by) => commands.call(readPolicies, input, by),
      hints,
      log,
    }),
  )
  const signer = options.signer ?? createAssertionSigner({ issuer: 'gateway', privateJwk, clock })

  const graph = buildGraph(options.supergraphSdl ?? readFileSync(SUPERGRAPH, 'utf8'))
  const limits = options.dataSourceLimits
  const dataSources = Object.fromEntries(
    graph.subgraphs.map((service) => [
      service,
      createDataSource({ service, peers, signer, metrics, ...(limits ? { limits } : {}) }),
    ]),
  )
  const executor = createExecutor({ graph, dataSources, log })

  const limiter = createLimiter({ redis, metrics, log })
  const rates = createRates({ limiter, policy, log })
  const documents = createDocuments(graph.schema, { hideSchema: isProduction })
  const admit = createAdmit({ rates, introspection: isProduction ? 'operators' : 'everyone' })

  const issuer = createIssuer({
    issuer: config.OIDC_ISSUER,
    audience: config.OIDC_AUDIENCE,
    clock,
    log,
  })
  const actors = createActors({ commands, clock })
  const resolvers = [bearer({ issuer, actors })]
  const authenticate = createAuthenticate({ resolvers, rates, metrics })

  const apollo = createApolloServer({
    executor,
    documents,
    admit,
    hideSchema: isProduction,
    log,
    metrics,
  })
  await apollo.start()
  scope.defer(() => apollo.stop())

  const upstreams = scope.adopt(
    createUpstreams({ addresses: config.BERTH_PEERS, metrics, log }),
    (it) => it.close(),
  )
  const sessions = createSessions({
    authenticate,
    documents,
    admit,
    planner: createPlanner(graph, createAuthorityOf(graph.supergraph)),
    executor,
    openSubscription: createOpenSubscription({
      upstreams,
      executor,
      signer,
      ...(options.streamLimits ? { limits: options.streamLimits } : {}),
    }),
    schema: graph.schema,
    log,
    metrics,
  })

  const allowedOrigins = config.BERTH_ALLOWED_ORIGINS
  const others = [...graph.subgraphs, ...('terminal' in config.BERTH_PEERS ? ['terminal'] : [])]
  const http = await startHttp({
    host: config.HOST,
    port: config.PORT,
    log,
    metrics,
    routes: graphqlRoutes({ apollo, authenticate, allowedOrigins }),
    ready: {
      issuer: () => issuer.ready(),
      redis: async () => void (await redis.ping()),
      ...peersReady(peers, others),
    },
    drainSeconds: config.BERTH_DRAIN_SECONDS,
  })
  const closeSockets = serveWebSockets({
    server: http.server,
    sessions,
    allowedOrigins,
    log,
    metrics,
  })
  scope.defer(async () => void (await Promise.all([http.close(), closeSockets()])))
  log.info({ url: http.url }, 'listening')
  return http
}
