import type { serviceConfig } from '@berth/platform/config'
import type { HttpServer } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { closeRedis, openRedis, revocationChannel } from '@berth/platform/pubsub'
import { type Concern, revocationMessage } from '@berth/platform/revocations'
import { testKeys, testRedis } from '@berth/platform/test-kit/index'
import type { FormattedExecutionResult } from 'graphql'
import { type Client, createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { LIMITS } from '../src/admit/limits.ts'
import { type GatewayOptions, openGateway } from '../src/app.ts'
import type { gatewayConfig } from '../src/config.ts'
import { AUDIENCE, openIssuer, type TestIssuer } from './issuer.ts'
import { testSupergraph } from './sdl.ts'
import {
  CHANGED_PEOPLE,
  EVENTS,
  hintChannel,
  openTestSubgraph,
  PEOPLE,
  type Person,
  REVOCATIONS,
  SEEN,
  type SubgraphName,
} from './subgraphs.ts'

export const NAMES = ['allocations', 'billing', 'inventory', 'notifications', 'policy'] as const

export type TestPlatform = AsyncDisposable & {
  readonly issuer: TestIssuer
  readonly keysDir: string
  readonly redis: ReturnType<typeof openRedis>
  readonly redisUrl: string
  /** Base URLs by service; mutable until a gateway is opened. */
  readonly peers: Record<string, string[]>
  readonly logged: string[]
  /** Starts a subgraph on its port of before, in this process. */
  start(name: SubgraphName): Promise<void>
  /** Ends it at once, and every connection with it. */
  stop(name: SubgraphName): Promise<void>
  /** While it is stopped; it is started again whatever happens. */
  without(name: SubgraphName, act: () => Promise<void>): Promise<void>
  /** One more of it, for gateways that are opened from now on. @returns what ends it at once */
  startReplica(name: SubgraphName): Promise<() => Promise<void>>
  gateway(options?: TestGatewayOptions): Promise<TestGateway>
  /** Something happened to these allocations, in this order. */
  publish(...ids: string[]): Promise<void>
  /** Of streams without positions. */
  tick(number: number): Promise<void>
  /**
   * Changes who somebody is to policy, who tells of it: null is nobody any more, undefined as they were.
   *
   * @param isLost the message over Redis is; policy knows all the same
   */
  change(
    subject: string,
    to: Person['organizations'] | null | undefined,
    how?: { isLost?: boolean },
  ): Promise<void>
  /** Policy tells of a change of authority, without one. */
  concern(concern: Concern, how?: { isLost?: boolean }): Promise<void>
  /** What the subgraphs were asked by whom. */
  seen(): Promise<Seen[]>
}

export type Seen = {
  subgraph: string
  field: string
  claims: Record<string, unknown>
  idempotencyKey: string | null
  requestId: string
  traceparent: string | null
}

export type TestGatewayOptions = GatewayOptions & {
  readonly env?: Partial<Service<typeof gatewayConfig>['config']>
}

export type TestGateway = {
  readonly http: HttpServer
  readonly metrics: Service<typeof gatewayConfig>['metrics']
  /** POST /graphql. */
  ask(body: unknown, headers?: Record<string, string>): Promise<Answer>
  /** A graphql-ws client that never connects again by itself. */
  connect(
    connectionParams?: Record<string, unknown>,
    on?: Parameters<typeof createClient>[0]['on'],
  ): Client
  close(): Promise<void>
}

export type Answer = { status: number; headers: Headers; body: FormattedExecutionResult }

export async function openTestPlatform({
  redisUrl: ownRedis,
  only = NAMES,
}: {
  redisUrl?: string
  only?: readonly SubgraphName[]
} = {}): Promise<TestPlatform> {
  const scope = new AsyncDisposableStack()
  const keys = scope.use(testKeys(['gateway', ...NAMES]))
  const issuer = scope.use(await openIssuer())
  const shared = ownRedis ? undefined : scope.use(await testRedis())
  const redisUrl = ownRedis ?? shared?.url ?? ''
  const logged: string[] = []
  const redis = scope.adopt(openRedis(redisUrl, logOf('test')), closeRedis)
  const running = new Map<SubgraphName, { stop(): Promise<void> }>()
  const peers: Record<string, string[]> = {}

  const configOf = (service: string, port: number) => ({
    BERTH_SERVICE: service,
    BERTH_INSTANCE: `${service}-1`,
    BERTH_ENV: 'test' as const,
    HOST: '127.0.0.1',
    PORT: port,
    REDIS_URL: redisUrl,
    NATS_URL: 'nats://127.0.0.1:1',
    BERTH_KEYS_DIR: keys.dir,
    BERTH_PEERS: structuredClone(peers),
    BERTH_DRAIN_SECONDS: 1,
    LOG_LEVEL: 'debug' as const,
    BERTH_DEVELOPMENT_NODE: undefined,
    NODE_PROBE_ALLOWED_CIDRS: [],
  })
  function logOf(service: string) {
    return createLog({
      service,
      instance: `${service}-1`,
      level: 'debug',
      destination: { write: (line) => void logged.push(line) },
    })
  }

  async function open(name: SubgraphName, port: number) {
    const own = new AsyncDisposableStack()
    const service = {
      config: configOf(name, port),
      log: logOf(name),
      metrics: createMetrics({ service: name }),
    }
    const http = await openTestSubgraph(own, service as Service<typeof serviceConfig>)
    return {
      http,
      async stop() {
        const closing = own.disposeAsync()
        http.server.closeAllConnections()
        await closing
      },
    }
  }

  async function start(name: SubgraphName): Promise<void> {
    const opened = await open(name, Number(new URL(peers[name]?.[0] ?? 'http://127.0.0.1:0').port))
    running.set(name, opened)
    peers[name] ??= [opened.http.url]
  }

  async function stop(name: SubgraphName): Promise<void> {
    const opened = running.get(name)
    running.delete(name)
    await opened?.stop()
  }

  async function startReplica(name: SubgraphName): Promise<() => Promise<void>> {
    const { http, stop: end } = await open(name, 0)
    peers[name]?.push(http.url)
    return async () => {
      peers[name] = (peers[name] ?? []).filter((url) => url !== http.url)
      await end()
    }
  }

  async function gateway({
    env,
    streamLimits,
    ...options
  }: TestGatewayOptions = {}): Promise<TestGateway> {
    const own = new AsyncDisposableStack()
    // Also of one that does not start.
    scope.defer(() => own.disposeAsync())
    const metrics = createMetrics({ service: 'gateway' })
    const config = {
      ...configOf('gateway', 0),
      OIDC_ISSUER: issuer.url,
      OIDC_AUDIENCE: AUDIENCE,
      BERTH_ALLOWED_ORIGINS: ['https://app.test'],
      BERTH_TRUSTED_PROXIES: [],
      BERTH_MAX_COST: LIMITS.cost,
      ...env,
    }
    const http = await openGateway(
      own,
      { config, log: logOf('gateway'), metrics } as Service<typeof gatewayConfig>,
      {
        ...(env?.BERTH_SUPERGRAPH ? {} : { supergraphSdl: testSupergraph() }),
        streamLimits: { backoff: { baseMs: 20, maxMs: 100 }, ...streamLimits },
        ...options,
      },
    )
    return {
      http,
      metrics,
      async ask(body, headers = {}) {
        const response = await fetch(`${http.url}/graphql`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        })
        const { status } = response
        return {
          status,
          headers: response.headers,
          body: (await response.json()) as FormattedExecutionResult,
        }
      },
      connect: (connectionParams, on) =>
        createClient({
          url: `${http.url.replace('http', 'ws')}/graphql`,
          webSocketImpl: WebSocket,
          retryAttempts: 0,
          ...(connectionParams ? { connectionParams } : {}),
          ...(on ? { on } : {}),
        }),
      close: () => own.disposeAsync(),
    }
  }

  async function concern(it: Concern, { isLost = false } = {}): Promise<void> {
    const version = await redis.rpush(REVOCATIONS, JSON.stringify(it))
    if (isLost) return
    const message = revocationMessage({ after: version - 1, version, concerns: [it] })
    await redis.publish(`${redis.options.keyPrefix ?? ''}${revocationChannel()}`, message)
  }

  for (const name of only) await start(name)
  return {
    issuer,
    keysDir: keys.dir,
    redis,
    redisUrl,
    peers,
    logged,
    start,
    stop,
    startReplica,
    async without(name, act) {
      await stop(name)
      try {
        await act()
      } finally {
        await start(name)
      }
    },
    gateway,
    async publish(...ids) {
      await redis.rpush(EVENTS, ...ids)
      await redis.publish(`${redis.options.keyPrefix ?? ''}${hintChannel}`, 'more')
    },
    async tick(number) {
      await redis.publish(`${redis.options.keyPrefix ?? ''}${hintChannel}`, String(number))
    },
    concern,
    async change(subject, to, how) {
      const userId = PEOPLE[subject]?.userId ?? ''
      if (to === undefined) await redis.hdel(CHANGED_PEOPLE, subject)
      else {
        const person = to && { userId, organizations: to }
        await redis.hset(CHANGED_PEOPLE, subject, JSON.stringify(person))
      }
      await concern({ kind: 'person', id: userId }, how)
    },
    async seen() {
      return (await redis.lrange(SEEN, 0, -1)).map((it) => JSON.parse(it) as Seen)
    },
    async [Symbol.asyncDispose]() {
      await scope.disposeAsync()
      for (const name of [...running.keys()]) await stop(name)
    },
  }
}
