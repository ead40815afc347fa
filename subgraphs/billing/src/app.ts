import { readFileSync } from 'node:fs'
import { startAuditRelay } from '@berth/platform/audit-relay'
import { repeat } from '@berth/platform/bell'
import { openBus } from '@berth/platform/bus'
import { type Clock, systemClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import { startConsumer } from '@berth/platform/consumer'
import { openDatabase } from '@berth/platform/database'
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
import { PrismaClient } from '@berth/prisma/billing'
import { appendAuditTrail } from '@berth/schema/commands/policy'
import { policyByCommand } from '@berth/schema/policy-source'
import { billingCommands } from './commands.ts'
import { type billingConfig, CURRENCY, SETTLE_SECONDS } from './config.ts'
import { allocationHandlers, policyHandlers } from './consumers.ts'
import { createLoaders } from './context.ts'
import { resolvers } from './resolvers/index.ts'
import { rules } from './rules.ts'
import { createCredit } from './service/credit.ts'
import { createHolds } from './service/holds.ts'
import { createMetering } from './service/metering.ts'
import { createReads } from './service/reads.ts'

const SDL = new URL('../../../schema/billing.graphql', import.meta.url)

/** The whole service; the scope's disposal ends requests, then work, then connections. */
export async function openBilling(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof billingConfig>,
  clock: Clock = systemClock,
): Promise<HttpServer> {
  const isProduction = config.BERTH_ENV === 'production'
  const windowSeconds = config.METER_SECONDS ?? (isProduction ? 60 : 10)
  const starterCreditMicros =
    config.BERTH_STARTER_CREDIT_MICROS ?? (isProduction ? 0n : 100_000_000n)

  const keys = loadKeys(config.BERTH_KEYS_DIR, config.BERTH_SERVICE)
  const database = scope.adopt(
    openDatabase({
      url: config.DATABASE_URL,
      schema: 'billing',
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
  const asking = createCommandClient({ service: 'billing', privateJwk, peers, metrics, clock })
  const source = policyByCommand(asking)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics, clock }),
  )
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics, clock }))

  const cover = {
    window: 2 * windowSeconds + SETTLE_SECONDS,
    notice: config.HOLD_NOTICE_SECONDS,
    stop: config.HOLD_STOP_SECONDS,
  }
  const common = { database, clock, log, currency: CURRENCY }
  const holds = createHolds({ ...common, cover, lapseSeconds: config.HOLD_LAPSE_SECONDS })
  const metering = createMetering({ ...common, windowSeconds, settleSeconds: SETTLE_SECONDS })
  const credit = createCredit({ ...common, starterCreditMicros })
  const reads = createReads(common)

  await keepPartitions({ sql: database.sql, log, scope })
  startRelay({ database, domain: 'billing', bus, hints, log, metrics, scope })
  startAuditRelay({
    database,
    domain: 'billing',
    send: (events, commandId) => asking.call(appendAuditTrail, { events }, { commandId }),
    log,
    metrics,
    scope,
  })
  const consuming = { bus, database, name: 'billing', log, metrics, scope }
  startConsumer({ ...consuming, domain: 'policy', on: policyHandlers(credit) })
  startConsumer({ ...consuming, domain: 'allocations', on: allocationHandlers(metering) })

  const windows = metrics.counter('berth_billing_windows_total', 'Windows of use by outcome', [
    'outcome',
  ])
  const stopping = new AbortController()
  const { signal } = stopping
  const onError = (err: unknown) => log.error({ err }, 'metering failed and is tried again')
  const metered = repeat({
    async work() {
      const { posted, failed } = await metering.tick(signal)
      windows.inc({ outcome: 'posted' }, posted)
      windows.inc({ outcome: 'failed' }, failed)
      await holds.expire()
      return false
    },
    pauseSeconds: Math.max(1, windowSeconds / 4),
    signal,
    onError,
  })
  scope.defer(() => {
    stopping.abort()
    return metered
  })

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
      reads,
      load: createLoaders({ ...common, actor: request.actor }),
    }),
    commands: billingCommands(holds),
    ready: { database: () => database.ping() },
  })
}
