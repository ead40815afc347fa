import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type AssertionSigner, createAssertionSigner } from '@berth/platform/assertion'
import { createClientAddress } from '@berth/platform/client-address'
import { systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import type { HttpServer } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import { createLimiter } from '@berth/platform/limiter'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { createRevocations } from '@berth/platform/revocations'
import { loadKeys } from '@berth/platform/trusted-keys'
import { apiKeyEnvironment } from '@berth/schema/api-key'
import { policyByCommand } from '@berth/schema/policy-source'
import { createAdmit } from './admit/admit.ts'
import { createCosts } from './admit/costs.ts'
import { createPlanningBudget, type PlanningBudget } from './admit/planning-budget.ts'
import { createRates } from './admit/rates.ts'
import { NO_TRUSTED_DOCUMENTS, readTrustedDocuments } from './admit/trusted-documents.ts'
import { createActors } from './authentication/actors.ts'
import { apiKey, createApiKeys } from './authentication/api-keys.ts'
import { bearer, createAuthenticate, createIdentify } from './authentication/authenticate.ts'
import { breakGlass } from './authentication/break-glass.ts'
import { createDeniedKeys } from './authentication/denied-keys.ts'
import { createIssuer, trustedBy } from './authentication/issuer.ts'
import { createIssuerKeys } from './authentication/issuer-keys.ts'
import { createKeyRefreshes } from './authentication/key-refreshes.ts'
import { createKeySource } from './authentication/key-source.ts'
import { createReplicas } from './authentication/replicas.ts'
import { createStandings } from './authentication/standing.ts'
import { createTokens } from './authentication/tokens.ts'
import { createAuthorityOf } from './authority.ts'
import type { gatewayConfig } from './config.ts'
import { createActorCredentials } from './federation/credentials.ts'
import { buildGraph } from './federation/graph.ts'
import type { SubgraphLimits } from './federation/transport/limits.ts'
import {
  createSubgraphClient,
  type SubgraphClient,
} from './federation/transport/subgraph-client.ts'
import { page } from './http/page.ts'
import { peersReady } from './http/platform-ready.ts'
import { serveGraph } from './serve.ts'
import { createBrowserSessions } from './sessions/browser-sessions.ts'
import { sessionSettings } from './sessions/settings.ts'
import { connectionLimits } from './sockets/connections.ts'
import type { FaceLimits } from './sockets/faces.ts'
import type { StreamLimits } from './subscriptions/hub.ts'
import { createUpstreams } from './subscriptions/upstreams.ts'

const SUPERGRAPH = new URL('../../schema/supergraph.graphql', import.meta.url)

export type GatewayOptions = {
  /** The committed one, unless a test brings its own. */
  readonly supergraphSdl?: string
  /** Of every subgraph. */
  readonly subgraphLimits?: Partial<SubgraphLimits>
  readonly streamLimits?: StreamLimits
  readonly budget?: PlanningBudget
  /** Of clients that stay connected. */
  readonly faceLimits?: FaceLimits
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
  // What may be wrong with what is configured is found before anything is opened.
  const { privateJwk } = loadKeys(config.BERTH_KEYS_DIR, 'gateway')
  const settings = sessionSettings(config)
  const trustedProxies = config.BERTH_TRUSTED_PROXIES
  const clientAddress = createClientAddress({ trustedProxies, isProduction })
  const allowedOrigins = settings
    ? [...new Set([...config.BERTH_ALLOWED_ORIGINS, settings.publicUrl.origin])]
    : config.BERTH_ALLOWED_ORIGINS
  const file = config.BERTH_SUPERGRAPH ?? fileURLToPath(SUPERGRAPH)
  const graph = buildGraph(options.supergraphSdl ?? readFileSync(file, 'utf8'))
  const manifest = config.BERTH_TRUSTED_DOCUMENTS
  const trusted = manifest ? readTrustedDocuments(manifest, graph.schema) : NO_TRUSTED_DOCUMENTS

  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const commands = createCommandClient({ service: 'gateway', privateJwk, peers, metrics })
  const source = policyByCommand(commands)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics }),
  )
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics }))
  const signer = options.signer ?? createAssertionSigner({ issuer: 'gateway', privateJwk, clock })

  const clients = new Map<string, SubgraphClient>()
  const credentialsOf = createActorCredentials(signer, clock)
  const limiter = createLimiter({ redis, metrics, log })
  const rates = createRates({ limiter, policy, log })
  const costs = createCosts()
  const admit = createAdmit({
    rates,
    introspection: isProduction ? 'operators' : 'everyone',
    costs,
    maxCost: config.BERTH_MAX_COST,
  })

  const { OIDC_ISSUER: issuerUrl, OIDC_AUDIENCE: audience } = config
  const keys = createIssuerKeys({
    source: createKeySource({ issuer: issuerUrl }),
    staleSeconds: config.BERTH_ISSUER_KEYS_STALE_SECONDS,
    clock,
    log,
    metrics,
  })
  const denied = createDeniedKeys({ commands, log, metrics })
  const findTrusted = trustedBy({ keys, denied })
  const issuer = createIssuer({ issuer: issuerUrl, audience, keys, denied, clock })
  const actors = createActors({ commands, clock })
  const tokens = createTokens({ issuer, clock })
  const environment = apiKeyEnvironment(config.BERTH_ENV)
  const apiKeys = createApiKeys({ commands, environment, clock })
  const browsers = settings
    ? createBrowserSessions({
        issuer: issuerUrl,
        keys: async (...jws) => (await findTrusted(...jws)).key,
        settings,
        allowedOrigins,
        privateJwk,
        commands,
        redis,
        actors,
        clock,
        log,
        metrics,
      })
    : undefined
  const identify = createIdentify([
    ...(browsers ? [browsers.resolver] : []),
    apiKey({ apiKeys, clock }),
    bearer({ tokens, actors }),
  ])
  const authenticate = createAuthenticate({ identify, rates, metrics })
  const standings = scope.use(
    createStandings({
      authenticate,
      identify,
      actors,
      apiKeys,
      keys,
      denied,
      tokens,
      sessions: browsers,
      revocations,
      metrics,
      clock,
    }),
  )

  const replicas = scope.use(createReplicas({ redis, instance: config.BERTH_INSTANCE, log }))
  const refreshes = createKeyRefreshes({ keys, replicas, commands, log })
  scope.defer(revocations.subscribe(refreshes.hear))

  const upstreams = scope.adopt(
    createUpstreams({
      addressesOf: (service) => config.BERTH_PEERS[service] ?? [],
      metrics,
      log,
    }),
    (it) => it.close(),
  )
  return serveGraph(scope, {
    graph,
    file: options.supergraphSdl === undefined ? file : undefined,
    trusted,
    clientsOf: ({ subgraphs }) =>
      Object.fromEntries(subgraphs.map((service) => [service, clientOf(service)])),
    upstreams,
    authorityOf: ({ supergraph }) => createAuthorityOf(supergraph),
    authenticate,
    standings,
    revocations,
    credentialsFor: () => credentialsOf,
    admit,
    costs,
    rates,
    budget: options.budget ?? createPlanningBudget(),
    hideSchema: isProduction,
    allowedOrigins,
    page,
    routes: {
      ...browsers?.routes({ authenticate, rates }),
      ...breakGlass({ secret: config.BERTH_BREAK_GLASS_SECRET, refreshes, limiter, metrics }),
    },
    streamLimits: options.streamLimits,
    faceLimits: {
      ...connectionLimits({
        total: config.BERTH_CONNECTIONS,
        perAddress: config.BERTH_CONNECTIONS_PER_ADDRESS,
        perActor: config.BERTH_CONNECTIONS_PER_ACTOR,
        perOrganization: config.BERTH_CONNECTIONS_PER_ORGANIZATION,
      }),
      ...options.faceLimits,
    },
    ready: (served) => ({
      issuer: () => keys.ready(),
      redis: async () => void (await redis.ping()),
      ...peersReady(peers, [
        ...served().subgraphs,
        ...('terminal' in config.BERTH_PEERS ? ['terminal'] : []),
      ]),
    }),
    clientAddress,
    host: config.HOST,
    port: config.PORT,
    drainSeconds: config.BERTH_DRAIN_SECONDS,
    log,
    metrics,
  })

  /** One for all graphs: it knows how the subgraph has been doing. */
  function clientOf(service: string): SubgraphClient {
    const known =
      clients.get(service) ??
      createSubgraphClient({ service, peers, metrics, limits: options.subgraphLimits ?? {}, log })
    clients.set(service, known)
    return known
  }
}
