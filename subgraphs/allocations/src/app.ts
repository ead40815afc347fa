import { readFileSync } from 'node:fs'
import { startAuditRelay } from '@berth/platform/audit-relay'
import { repeat } from '@berth/platform/bell'
import { openBus } from '@berth/platform/bus'
import { type Clock, systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import { startConsumer } from '@berth/platform/consumer'
import { createCursors } from '@berth/platform/cursor'
import { openDatabase } from '@berth/platform/database'
import { createDialGuard } from '@berth/platform/dial-guard'
import type { Service } from '@berth/platform/lifecycle'
import { createLimiter } from '@berth/platform/limiter'
import { createOneTimeTokens } from '@berth/platform/one-time-token'
import { keepPartitions } from '@berth/platform/partitions'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { startRelay } from '@berth/platform/relay'
import { createRevocations } from '@berth/platform/revocations'
import { type SubgraphRequest, startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { PrismaClient } from '@berth/prisma/allocations'
import type { TerminalToken } from '@berth/schema/commands/allocations'
import { appendAuditTrail } from '@berth/schema/commands/policy'
import { policyByCommand } from '@berth/schema/policy-source'
import { commandsOf } from './commands.ts'
import type { allocationsConfig } from './config.ts'
import { consumersOf } from './consumers.ts'
import type { Context } from './context.ts'
import type { Driver } from './driver/port.ts'
import { createSshDriver } from './driver/ssh.ts'
import { resolvers } from './resolvers/index.ts'
import { rules } from './rules.ts'
import { createEntities } from './service/entities.ts'
import { createGpuQuota } from './service/gpu-quota.ts'
import type { Ports } from './service/ports.ts'
import { createTerminalRate } from './service/terminal-rate.ts'
import { createAllocationStore } from './store/allocations.ts'
import { createLeases } from './store/leases.ts'
import { createNodeStore } from './store/nodes.ts'
import { createTerminalStore } from './store/terminals.ts'
import { createUpstream } from './upstream.ts'
import { createReconciliation } from './worker/reconcile.ts'
import { createSteps } from './worker/steps.ts'
import { createWorker } from './worker/worker.ts'

/** What a test may put in place of the real thing. */
export type Substitutes = {
  readonly driver?: Driver
  readonly clock?: Clock
  readonly reservationSeconds?: number
}

const RESERVATION_SECONDS = 10
const RECONCILE_SECONDS = 60

/** The whole service; what it opens ends with the scope, last opened first. */
export async function openAllocations(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof allocationsConfig>,
  { clock = systemClock, reservationSeconds = RESERVATION_SECONDS, ...given }: Substitutes = {},
) {
  const domain = 'allocations'
  const keys = loadKeys(config.BERTH_KEYS_DIR, domain)
  const database = scope.adopt(
    openDatabase({
      url: config.DATABASE_URL,
      schema: domain,
      client: (adapter) => new PrismaClient({ adapter }),
    }),
    (it) => it.close(),
  )
  await keepPartitions({ sql: database.sql, log, scope })
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const bus = scope.adopt(
    openBus({ url: config.NATS_URL, name: config.BERTH_INSTANCE, log }),
    (it) => it.close(),
  )
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const { privateJwk } = keys
  const commands = createCommandClient({ service: domain, privateJwk, peers, metrics })
  const source = policyByCommand(commands)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics }),
  )
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics }))

  const allocations = createAllocationStore(database)
  const upstream = createUpstream(commands)
  const driver = given.driver ?? createSshDriver({ access: upstream.nodes, dial: dialer().connect })
  const steps = createSteps({ upstream, driver, publicKeys: allocations.publicKeys })
  const worker = createWorker({ leases: createLeases(database), steps, log, metrics, clock })
  scope.defer(() => worker.stop(config.BERTH_DRAIN_SECONDS))
  reconcileAlways()

  const ports: Ports = {
    database,
    allocations,
    terminals: createTerminalStore(database),
    cursors: createCursors(keys.cursorKey),
    hints,
    tokens: createOneTimeTokens<TerminalToken>({ redis, purpose: 'terminal', clock, metrics }),
    clock,
    wake: worker.wake,
    terminalUrl: config.TERMINAL_URL,
    allowedOrigins: config.BERTH_ALLOWED_ORIGINS,
    reservationSeconds,
    policy,
    gpuQuota: createGpuQuota(policy),
    terminalRate: createTerminalRate({ limiter: createLimiter({ redis, metrics, log }), policy }),
  }
  startRelay({ database, domain, bus, hints, log, metrics, scope })
  startAuditRelay({
    database,
    domain,
    send: (events, commandId) => commands.call(appendAuditTrail, { events }, { commandId }),
    log,
    metrics,
    scope,
  })
  for (const [of, on] of Object.entries(consumersOf(ports))) {
    startConsumer({ bus, database, name: domain, domain: of, on, log, metrics, scope })
  }
  worker.start()
  return startSubgraph<Context>({
    config,
    keys,
    log,
    metrics,
    scope,
    typeDefs: readFileSync(new URL('../../../schema/allocations.graphql', import.meta.url), 'utf8'),
    resolvers,
    rules,
    context: (request: SubgraphRequest) => ({
      ...request,
      policy,
      ports,
      entities: createEntities(ports, request.actor),
    }),
    commands: commandsOf(ports),
    ready: {
      database: () => database.ping(),
      redis: async () => void (await redis.ping()),
      bus: () => bus.ping(),
    },
  })

  /** Whichever replica comes first does a round; the others' is in vain. */
  function reconcileAlways(): void {
    const nodes = createNodeStore(database)
    const reconcile = createReconciliation({ nodes, driver, log, metrics, clock })
    const stopping = new AbortController()
    const { signal } = stopping
    const work = () => reconcile(signal).then(() => false)
    const onError = (err: unknown) => log.error({ err }, 'nodes could not be reconciled')
    const running = repeat({ work, pauseSeconds: RECONCILE_SECONDS, signal, onError })
    scope.defer(() => {
      stopping.abort()
      return running
    })
  }

  function dialer() {
    const { BERTH_DEVELOPMENT_NODE: exception, BERTH_ENV, NODE_PROBE_ALLOWED_CIDRS } = config
    return createDialGuard({
      allowedCidrs: NODE_PROBE_ALLOWED_CIDRS,
      exceptions: exception ? [exception] : [],
      production: BERTH_ENV === 'production',
    })
  }
}
