import { type Actor, createActor } from '@berth/platform/actor'
import { ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { type CommandClient, createCommandClient } from '@berth/platform/commands'
import type { SubgraphConfig } from '@berth/platform/config'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import { testDatabase, testKeys, testNats, testRedis } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { openPolicy } from './app.ts'
import { openPolicyDatabase } from './database.ts'
import { seed, seedId } from './seed.ts'

const SERVICES = [
  'gateway',
  'policy',
  'terminal',
  'allocations',
  'inventory',
  'billing',
  'notifications',
]

export const ISSUER = 'https://issuer.example'

/** The development people, as the gateway makes actors of them. */
export const actors = {
  user: person('user', 'Development', ['member']),
  admin: person('admin', 'Development', ['owner']),
  operator: person('operator', 'Operations', ['owner', 'platform:operator']),
} as const

/** The whole service in this process, seeded, on servers of its own. */
export async function startPolicy(scope: AsyncDisposableStack) {
  const database = scope.use(await testDatabase('policy'))
  const redis = scope.use(await testRedis())
  const nats = scope.use(await testNats())
  const keys = scope.use(testKeys(SERVICES))
  const config: SubgraphConfig = {
    BERTH_SERVICE: 'policy',
    BERTH_INSTANCE: 'policy-1',
    BERTH_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: 0,
    DATABASE_URL: database.appUrl,
    REDIS_URL: redis.url,
    NATS_URL: nats.url,
    BERTH_KEYS_DIR: keys.dir,
    BERTH_PEERS: {},
    BERTH_DRAIN_SECONDS: 1,
    LOG_LEVEL: 'silent',
    NODE_PROBE_ALLOWED_CIDRS: [],
  }
  const log = createLog({ service: 'policy', instance: 'policy-1', level: 'silent' })
  const open = () =>
    openPolicy(scope, { config, log, metrics: createMetrics({ service: 'policy' }) })
  const app = await open()
  await app.database.sqlTransaction((sql) => seed(sql, ISSUER))
  const { privateJwk } = loadKeys(keys.dir, 'gateway')
  const assertions = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })

  return {
    ...app,
    config,
    log,
    /** As who may change everything: an operator with plain SQL. */
    owner: scope.adopt(openPolicyDatabase(database.ownerUrl), (it) => it.close()),
    /** Another replica. */
    open,
    /** Asks as an actor; what fails is in `errors`. */
    async graphql(
      actor: Actor,
      query: string,
      variables: object = {},
      headers: Record<string, string> = {},
    ): Promise<GraphqlAnswer> {
      const response = await fetch(`${app.url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          [ACTOR_HEADER]: await assertions.sign(actor, 'policy'),
          ...headers,
        },
        body: JSON.stringify({ query, variables }),
      })
      return (await response.json()) as GraphqlAnswer
    },
    /** What the gateway says of an actor. */
    assertionOf: (actor: Actor) => assertions.sign(actor, 'policy'),
    /** Commands as another service gives them. */
    commandsOf(service: string): CommandClient {
      return createCommandClient({
        service,
        privateJwk: loadKeys(keys.dir, service).privateJwk,
        peers: scope.adopt(createPeers({ policy: [app.url] }), (it) => it.close()),
        metrics: createMetrics({ service }),
      })
    },
  }
}

export type GraphqlAnswer = {
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for.
  data?: any
  errors?: { message: string; path?: (string | number)[]; extensions: { code: string } }[]
}

function person(subject: string, organization: string, roles: string[]): Actor {
  return createActor({
    kind: 'person',
    subject: seedId('usr', subject),
    organizationId: seedId('org', organization),
    roles,
  })
}
