import { type Actor, createActor } from '@berth/platform/actor'
import { ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { type Bus, openBus } from '@berth/platform/bus'
import { systemClock } from '@berth/platform/clock'
import { createCommandPort } from '@berth/platform/commands'
import type { SubgraphConfig } from '@berth/platform/config'
import type { Envelope, EventContract } from '@berth/platform/contract'
import { startHttp } from '@berth/platform/http'
import { type Id, idToUuid, newId, newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { testDatabase, testKeys, testNats, testRedis } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { policyHandlers } from '@berth/schema/testing/policy'
import { openNotifications } from './app.ts'
import { openNotificationsDatabase } from './database.ts'

const log = createLog({ service: 'notifications', instance: 'notifications-1', level: 'silent' })

/** Servers of its own, and what starts replicas of the service in this process. */
export async function testPlatform(scope: AsyncDisposableStack) {
  const database = scope.use(await testDatabase('notifications'))
  const redis = scope.use(await testRedis())
  const nats = scope.use(await testNats())
  const keys = scope.use(testKeys(['gateway', 'policy', 'notifications']))
  const policyUrl = await startPolicyStub(scope, keys.dir)
  const config: SubgraphConfig = {
    BERTH_SERVICE: 'notifications',
    BERTH_INSTANCE: 'notifications-1',
    BERTH_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: 0,
    DATABASE_URL: database.appUrl,
    REDIS_URL: redis.url,
    NATS_URL: nats.url,
    BERTH_KEYS_DIR: keys.dir,
    BERTH_PEERS: { policy: [policyUrl] },
    BERTH_DRAIN_SECONDS: 1,
    LOG_LEVEL: 'silent',
    NODE_PROBE_ALLOWED_CIDRS: [],
  }
  const bus = scope.adopt(openBus({ url: nats.url, name: 'test', log }), (it) => it.close())
  const { privateJwk } = loadKeys(keys.dir, 'gateway')
  const assertions = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })
  const db = scope.adopt(openNotificationsDatabase(database.appUrl), (it) => it.close())
  return {
    config,
    db,
    log,
    start: (within = scope) =>
      openNotifications(within, {
        config,
        log,
        metrics: createMetrics({ service: 'notifications' }),
      }),
    publish: createPublisher(bus),
    async graphql(
      url: string,
      actor: Actor,
      query: string,
      variables: object = {},
      headers: Record<string, string> = {},
    ) {
      const assertion = await assertions.sign(actor, 'notifications')
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', [ACTOR_HEADER]: assertion, ...headers },
        body: JSON.stringify({ query, variables }),
      })
      return (await response.json()) as GraphqlAnswer
    },
  }
}

export type GraphqlAnswer = {
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for.
  data?: any
  errors?: { message: string; extensions: { code: string } }[]
}

export function personActor(subject: Id<'usr'>): Actor {
  return createActor({
    kind: 'person',
    subject,
    organizationId: newId('org'),
    roles: ['member'],
  })
}

/** An event as its domain's relay would publish it. */
export function envelopeOf<C extends EventContract>(
  contract: C,
  data: unknown,
  fields: Partial<Envelope> = {},
): Envelope {
  return {
    id: newUuid(),
    type: contract.type,
    version: contract.version,
    aggregate: contract.aggregate,
    aggregateId: newUuid(),
    aggregateSeq: 1,
    organizationId: newUuid(),
    occurredAt: new Date().toISOString(),
    causationId: null,
    correlationId: null,
    traceparent: null,
    data: contract.data.parse(data) as Record<string, unknown>,
    ...fields,
  }
}

/** A change of an allocation, made by a person. */
export function changeBy(createdBy: Id<'usr'>, state: string, reason: string | null = null) {
  const facts = { gpuModel: 'h100-sxm5-80gb', gpuCount: 1, run: 1, startedAt: null, endedAt: null }
  return { ...facts, state, reason, createdBy }
}

export function uuidOf(id: string): string {
  return idToUuid(id)
}

/** Appends to a domain's stream; the same event again is another message, as after a republication. */
function createPublisher(bus: Bus) {
  const lastSeq = new Map<string, number>()
  return async (contract: EventContract, envelope: Envelope): Promise<void> => {
    const { domain, subject } = contract
    const afterSeq = lastSeq.get(domain) ?? (await bus.ensureStream(domain)).lastSeq
    const message = { domain, subject, id: newUuid(), text: JSON.stringify(envelope), afterSeq }
    const { seq } = await bus.publish(message)
    lastSeq.set(domain, seq)
  }
}

/** Answers what `mayDo` asks of policy. */
async function startPolicyStub(scope: AsyncDisposableStack, keysDir: string): Promise<string> {
  const metrics = createMetrics({ service: 'policy' })
  const { jwks } = loadKeys(keysDir, 'policy')
  const handlers = policyHandlers(() => ({ member: ['inbox:read'] }))
  const server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    log,
    metrics,
    routes: createCommandPort({ service: 'policy', handlers, jwks, metrics }),
    drainSeconds: 1,
  })
  scope.defer(() => server.close())
  return server.url
}
