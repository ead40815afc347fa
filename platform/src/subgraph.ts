import { ApolloServer, type BaseContext } from '@apollo/server'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { type GraphQLSchema, isInterfaceType, isObjectType, parse } from 'graphql'
import { decodeJwt } from 'jose'
import type { Actor } from './actor.ts'
import { ACTOR_EXTENSION, ACTOR_HEADER, createAssertionVerifier } from './assertion.ts'
import { type Clock, systemClock } from './clock.ts'
import { type CommandHandler, createCommandPort } from './commands.ts'
import type { ServiceConfig } from './config.ts'
import { apolloDefaults, createGraphqlHandler } from './graphql-http.ts'
import type { ReadinessChecks } from './health.ts'
import { type HttpServer, type Routes, startHttp } from './http.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { withinRequest } from './request-scope.ts'
import { DateTime, Decimal } from './scalars.ts'
import { type Rules, shieldSchema } from './shield.ts'
import { serveSubscriptions } from './subscriptions.ts'
import type { TrustedKeys } from './trusted-keys.ts'

/** What platform knows of an operation; the service adds its own to make its context. */
export type SubgraphRequest = {
  /** From a verified assertion. */
  readonly actor: Actor
  /** When that assertion ends; a subscription ends soon after it, to be renewed. */
  readonly expiresAt: Date
  readonly requestId: string
  /** As the client sent it, unparsed; never on a subscription. */
  readonly idempotencyKey: string | null
  readonly traceparent: string | null
  /**
   * To be said by whoever opens a durable subscription, before it returns the iterator: the cursor
   * that it starts after. It lets the gateway resume a stream that was lost before its first event.
   */
  readonly startsAfter: (cursor: string) => void
  /** Carries the request id. */
  readonly log: Log
}

export type SubgraphOptions<C extends BaseContext> = {
  config: Pick<
    ServiceConfig,
    'BERTH_SERVICE' | 'BERTH_ENV' | 'BERTH_DRAIN_SECONDS' | 'HOST' | 'PORT'
  >
  keys: Pick<TrustedKeys, 'jwks'>
  log: Log
  metrics: Metrics
  /** SDL text. Scalars `DateTime` and `Decimal` need no resolver. */
  typeDefs: string
  resolvers: Resolvers
  rules: Rules
  /** A fresh object for each operation: shield keeps its answers on it. */
  context: (request: SubgraphRequest) => C
  commands?: readonly CommandHandler[]
  /** Checks of readiness, by the name of what they reach. */
  ready?: ReadinessChecks
  /** Further routes that speak no GraphQL. */
  routes?: Routes
  scope: AsyncDisposableStack
  clock?: Clock
}

/** By type and field; `__resolveReference` of an entity included. */
// biome-ignore lint/suspicious/noExplicitAny: generated resolver types fit nothing narrower.
export type Resolvers = Readonly<Record<string, any>>

/**
 * Starts a service's GraphQL face, its subscriptions and its command port on one HTTP server; the
 * scope's disposal drains it. Every operation needs an actor assertion of the gateway's.
 *
 * The rules ask whether this actor may call this field. Whether a thing is this tenant's is asked
 * in the service, always: `_entities` enters below the root fields, and a reference is loaded
 * before any rule is asked.
 */
export async function startSubgraph<C extends BaseContext>(
  options: SubgraphOptions<C>,
): Promise<HttpServer & { readonly schema: GraphQLSchema }> {
  const { config, keys, log, metrics, scope, clock = systemClock } = options
  const service = config.BERTH_SERVICE
  const schema = shieldSchema(schemaOf(options.typeDefs, options.resolvers), options.rules)
  const assertions = createAssertionVerifier({ audience: service, jwks: keys.jwks, clock, metrics })

  const apollo = new ApolloServer<C>({
    schema,
    introspection: config.BERTH_ENV !== 'production',
    persistedQueries: false,
    ...apolloDefaults<C>({ log, metrics }),
  })
  await apollo.start()
  scope.defer(() => apollo.stop())

  const graphql = createGraphqlHandler(apollo, async (request) => {
    const admitted = await verify(textOf(request.headers[ACTOR_HEADER]))
    const { requestId, traceparent } = request
    const idempotencyKey = textOf(request.headers['idempotency-key']) ?? null
    const { log: requestLog } = request
    const startsAfter = () => undefined
    return options.context({
      ...admitted,
      requestId,
      traceparent,
      idempotencyKey,
      startsAfter,
      log: requestLog,
    })
  })
  const commands = options.commands ?? []
  const http = await startHttp({
    host: config.HOST,
    port: config.PORT,
    log,
    metrics,
    routes: {
      ...options.routes,
      'POST /graphql': (request, reply) =>
        withinRequest({ requestId: request.requestId, origin: 'graphql' }, () =>
          graphql(request, reply),
        ),
      ...createCommandPort({ service, handlers: commands, jwks: keys.jwks, metrics, clock }),
    },
    ready: options.ready ?? {},
    drainSeconds: config.BERTH_DRAIN_SECONDS,
  })
  const closeSockets = serveSubscriptions({
    server: http.server,
    path: '/graphql',
    schema,
    log,
    metrics,
    clock,
    contextOf: async ({ extensions, ...request }) => {
      const admitted = await verify(textOf(extensions[ACTOR_EXTENSION]))
      const context = options.context({ ...request, ...admitted, idempotencyKey: null })
      return { context, expiresAt: admitted.expiresAt }
    },
  })
  scope.defer(async () => void (await Promise.all([http.close(), closeSockets()])))
  log.info({ url: http.url }, 'listening')
  return { ...http, schema }

  async function verify(token: string | undefined): Promise<{ actor: Actor; expiresAt: Date }> {
    const actor = await assertions.verify(token)
    // It has been verified, so it is there and it ends.
    const { exp = 0 } = decodeJwt(token ?? '')
    return { actor, expiresAt: new Date(exp * 1000) }
  }
}

/** @throws {TypeError} when a resolver is of no type or field: Apollo's builder would drop it unseen */
export function schemaOf(typeDefs: string, resolvers: Resolvers): GraphQLSchema {
  const schema = buildSubgraphSchema([{ typeDefs: parse(typeDefs), resolvers: {} }])
  for (const [typeName, fields] of Object.entries(resolvers)) {
    const type = schema.getType(typeName)
    if (!type) throw new TypeError(`there is no type ${typeName} to resolve`)
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    const unknown = Object.keys(fields).find(
      (field) => !field.startsWith('__') && !Object.hasOwn(type.getFields(), field),
    )
    if (unknown) throw new TypeError(`there is no field ${typeName}.${unknown} to resolve`)
  }
  const scalars = Object.fromEntries(
    [DateTime, Decimal].filter(({ name }) => schema.getType(name)).map((it) => [it.name, it]),
  )
  return buildSubgraphSchema([
    { typeDefs: parse(typeDefs), resolvers: { ...scalars, ...resolvers } },
  ])
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
