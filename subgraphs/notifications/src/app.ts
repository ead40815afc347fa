import { readFileSync } from 'node:fs'
import { startAuditRelay } from '@berth/platform/audit-relay'
import { repeat } from '@berth/platform/bell'
import { openBus } from '@berth/platform/bus'
import { systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import type { SubgraphConfig } from '@berth/platform/config'
import { startConsumer } from '@berth/platform/consumer'
import { createCursors } from '@berth/platform/cursor'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { keepPartitions } from '@berth/platform/partitions'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { sweep } from '@berth/platform/retention'
import { createRevocations } from '@berth/platform/revocations'
import { startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { appendAuditTrail } from '@berth/schema/commands/policy'
import { policyByCommand } from '@berth/schema/policy-source'
import { createHandlers } from './consumers.ts'
import { createContext } from './context.ts'
import { type NotificationsDatabase, openNotificationsDatabase } from './database.ts'
import { resolvers } from './resolvers/index.ts'
import { rules } from './rules.ts'
import { createInbox } from './service/inbox.ts'
import { purge } from './service/purge.ts'

const typeDefs = readFileSync(
  new URL(import.meta.resolve('@berth/schema/notifications.graphql')),
  'utf8',
)

type Options = { config: SubgraphConfig; log: Log; metrics: Metrics }

/** Builds the whole service, and starts it; the scope's disposal ends it. */
export async function openNotifications(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Options,
) {
  const { BERTH_SERVICE: service, BERTH_INSTANCE: name } = config
  const { privateJwk, jwks, cursorKey } = loadKeys(config.BERTH_KEYS_DIR, service)
  const database = scope.adopt(openNotificationsDatabase(config.DATABASE_URL), (it) => it.close())
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const bus = scope.adopt(openBus({ url: config.NATS_URL, name, log }), (it) => it.close())
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const commands = createCommandClient({ service, privateJwk, peers, metrics })
  const source = policyByCommand(commands)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics }),
  )
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics }))
  await keepPartitions({ sql: database.sql, log, scope })
  keepRetention({ database, log, scope })
  startAuditRelay({
    database,
    domain: service,
    send: (events, commandId) => commands.call(appendAuditTrail, { events }, { commandId }),
    log,
    metrics,
    scope,
  })

  for (const [domain, on] of Object.entries(createHandlers(hints))) {
    startConsumer({ bus, database, name: service, domain, on, log, metrics, scope })
  }
  const inbox = createInbox({ database, cursors: createCursors(cursorKey), hints })
  const server = await startSubgraph({
    config,
    keys: { jwks },
    log,
    metrics,
    typeDefs,
    resolvers,
    rules,
    context: (request) => createContext(request, { inbox, policy }),
    ready: { postgres: database.ping },
    scope,
  })
  return { ...server, database, hints, inbox }
}

const RETENTION_SECONDS = 3_600

/** Nothing is published from here, so that no relay sweeps for this service. */
function keepRetention({
  database,
  log,
  scope,
}: {
  database: NotificationsDatabase
  log: Log
  scope: AsyncDisposableStack
}): void {
  const stopping = new AbortController()
  const running = repeat({
    work: async () => {
      await purge(database, systemClock)
      return sweep(database.sql)
    },
    pauseSeconds: RETENTION_SECONDS,
    signal: stopping.signal,
    onError: (error) => log.error({ err: error }, 'retention failed and is tried again'),
  })
  scope.defer(() => {
    stopping.abort()
    return running
  })
}
