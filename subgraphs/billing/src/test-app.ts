import { type Actor, createActor, OPERATOR_ROLE } from '@berth/platform/actor'
import { ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import {
  type CommandClient,
  createCommandClient,
  createCommandPort,
} from '@berth/platform/commands'
import { loadConfig } from '@berth/platform/config'
import { startHttp } from '@berth/platform/http'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import {
  type TestDatabase,
  testDatabase,
  testKeys,
  testNats,
  testRedis,
} from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { policyHandlers } from '@berth/schema/testing/policy'
import { openBilling } from './app.ts'
import { billingConfig } from './config.ts'

export type TestApp = AsyncDisposable & {
  kit: TestDatabase
  natsUrl: string
  url: string
  graphql(
    actor: Actor | null,
    query: string,
    variables?: object,
    // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is its query's.
  ): Promise<{ data: any; errors?: { message: string; extensions: { code: string } }[] }>
  /** Asks as this service. */
  as(service: 'allocations' | 'gateway'): CommandClient
}

/** The whole service on a free port, with real servers, and a policy that knows three roles. */
export async function openTestApp(env: Record<string, string> = {}): Promise<TestApp> {
  const scope = new AsyncDisposableStack()
  const kit = scope.adopt(await testDatabase('billing'), (it) => it.drop())
  const redis = scope.adopt(await testRedis(), (it) => it.drop())
  const nats = scope.adopt(await testNats(), (it) => it.drop())
  const keys = scope.use(testKeys(['gateway', 'allocations', 'policy', 'billing']))
  const log = createLog({ service: 'billing', instance: 'test', level: 'silent' })
  const metrics = createMetrics({ service: 'billing' })
  const { jwks } = loadKeys(keys.dir, 'policy')

  const roles = { owner: ['billing:*', 'allocation:*'], member: ['allocation:read'], viewer: [] }
  const policy = await startHttp({
    host: '127.0.0.1',
    port: 0,
    log,
    metrics: createMetrics({ service: 'policy' }),
    routes: createCommandPort({
      service: 'policy',
      jwks,
      metrics: createMetrics({ service: 'policy' }),
      handlers: policyHandlers(() => roles),
    }),
  })
  scope.defer(() => policy.close())

  const config = loadConfig(billingConfig, {
    BERTH_SERVICE: 'billing',
    BERTH_INSTANCE: 'billing-test',
    BERTH_ENV: 'test',
    PORT: '0',
    DATABASE_URL: kit.appUrl,
    REDIS_URL: redis.url,
    NATS_URL: nats.url,
    BERTH_KEYS_DIR: keys.dir,
    BERTH_PEERS: JSON.stringify({ policy: [policy.url] }),
    BERTH_DRAIN_SECONDS: '1',
    LOG_LEVEL: 'silent',
    ...env,
  })
  const { url } = await openBilling(scope, { config, log, metrics })
  const { privateJwk } = loadKeys(keys.dir, 'gateway')
  const assertions = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })
  const peers = scope.adopt(createPeers({ billing: [url] }), (it) => it.close())

  return {
    kit,
    natsUrl: nats.url,
    url,
    async graphql(actor, query, variables = {}) {
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(actor && { [ACTOR_HEADER]: await assertions.sign(actor, 'billing') }),
        },
        body: JSON.stringify({ query, variables }),
      })
      return (await response.json()) as Awaited<ReturnType<TestApp['graphql']>>
    },
    as: (service) =>
      createCommandClient({
        service,
        privateJwk: loadKeys(keys.dir, service).privateJwk,
        peers,
        metrics: createMetrics({ service }),
      }),
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
  }
}

export function person(role: string, organizationId = newId('org')): Actor {
  const roles = role === 'operator' ? [OPERATOR_ROLE] : [role]
  return createActor({ kind: 'person', subject: newId('usr'), organizationId, roles })
}
