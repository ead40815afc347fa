import { readFileSync } from 'node:fs'
import { startAuditRelay } from '@berth/platform/audit-relay'
import { repeat } from '@berth/platform/bell'
import { openBus } from '@berth/platform/bus'
import { type Clock, systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import { openDatabase } from '@berth/platform/database'
import { createDialGuard } from '@berth/platform/dial-guard'
import type { HttpServer } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import { keepPartitions } from '@berth/platform/partitions'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { startRelay } from '@berth/platform/relay'
import { createRevocations } from '@berth/platform/revocations'
import { startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { PrismaClient } from '@berth/prisma/inventory'
import { appendAuditTrail } from '@berth/schema/commands/policy'
import { policyByCommand } from '@berth/schema/policy-source'
import { inventoryCommands } from './commands.ts'
import type { inventoryConfig } from './config.ts'
import { createLoaders } from './context.ts'
import { sshNodeProbe } from './probe-ssh.ts'
import { resolvers } from './resolvers/index.ts'
import { rules } from './rules.ts'
import { createNodes } from './service/nodes.ts'
import { createProbing, type Probing } from './service/probing.ts'
import { createReads } from './service/reads.ts'
import { createSlots } from './service/slots.ts'

const SDL = new URL('../../../schema/inventory.graphql', import.meta.url)

/** The whole service; the scope's disposal ends requests, then work, then connections. */
export async function openInventory(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof inventoryConfig>,
  clock: Clock = systemClock,
): Promise<HttpServer> {
  const keys = loadKeys(config.BERTH_KEYS_DIR, config.BERTH_SERVICE)
  const database = scope.adopt(
    openDatabase({
      url: config.DATABASE_URL,
      schema: 'inventory',
      client: (adapter) => new PrismaClient({ adapter }),
    }),
    (it) => it.close(),
  )
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const bus = scope.adopt(
    openBus({ url: config.NATS_URL, name: config.BERTH_INSTANCE, log }),
    (it) => it.close(),
  )
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const { privateJwk } = keys
  const asking = createCommandClient({ service: 'inventory', privateJwk, peers, metrics, clock })
  const source = policyByCommand(asking)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics, clock }),
  )
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics, clock }))

  const guard = createDialGuard({
    allowedCidrs: config.NODE_PROBE_ALLOWED_CIDRS,
    exceptions: config.BERTH_DEVELOPMENT_NODE ? [config.BERTH_DEVELOPMENT_NODE] : [],
    production: config.BERTH_ENV === 'production',
  })
  const probe = sshNodeProbe({ dial: guard, commands: asking })
  const everySeconds = config.PROBE_SECONDS
  const probing = createProbing({ database, clock, log, probe, everySeconds })
  const nodes = createNodes({ database, clock, guard, probing })
  const slots = createSlots({ database, clock })
  const reads = createReads({ database })

  await keepPartitions({ sql: database.sql, log, scope })
  startRelay({ database, domain: 'inventory', bus, hints, log, metrics, scope })
  startAuditRelay({
    database,
    domain: 'inventory',
    send: (events, commandId) => asking.call(appendAuditTrail, { events }, { commandId }),
    log,
    metrics,
    scope,
  })
  keepProbing({ probing, everySeconds, log, scope })

  return startSubgraph({
    config,
    keys,
    log,
    metrics,
    scope,
    clock,
    typeDefs: readFileSync(SDL, 'utf8'),
    resolvers,
    rules,
    context: (request) => ({
      ...request,
      policy,
      nodes,
      reads,
      load: createLoaders({ database, policy, actor: request.actor }),
    }),
    commands: inventoryCommands(slots, reads),
    ready: { database: () => database.ping() },
  })
}

const HOUR_SECONDS = 3_600

function keepProbing({
  probing,
  everySeconds,
  log,
  scope,
}: {
  probing: Probing
  everySeconds: number
  log: Service<typeof inventoryConfig>['log']
  scope: AsyncDisposableStack
}): void {
  const stopping = new AbortController()
  const { signal } = stopping
  const onError = (err: unknown) => log.error({ err }, 'probing failed and is tried again')
  const probes = repeat({
    work: async () => (await probing.tick()) > 0,
    pauseSeconds: Math.min(everySeconds, 2),
    signal,
    onError,
  })
  const prunes = repeat({
    work: async () => {
      await probing.prune()
      return false
    },
    pauseSeconds: HOUR_SECONDS,
    signal,
    onError,
  })
  scope.defer(async () => {
    stopping.abort()
    await Promise.all([probes, prunes])
  })
}
