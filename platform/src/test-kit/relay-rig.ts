import { PrismaClient } from '@berth/prisma/inventory'
import { type Bus, openBus } from '../bus.ts'
import { type Database, openDatabase } from '../database.ts'
import { createLog, type Log } from '../log.ts'
import { createMetrics, type Metrics } from '../metrics.ts'
import type { Hints } from '../pubsub.ts'
import { startRelay } from '../relay.ts'

/** A replica's share of what relays and consumers need, over real servers. */
export type Rig = AsyncDisposable & {
  readonly scope: AsyncDisposableStack
  readonly database: Database<PrismaClient>
  readonly bus: Bus
  readonly log: Log
  readonly metrics: Metrics
  relay(options?: { hints?: Hints; scope?: AsyncDisposableStack }): void
  /** Sum over the labels. */
  count(metric: string, labels?: Record<string, string>): Promise<number>
}

export function openRig({ databaseUrl, natsUrl }: { databaseUrl: string; natsUrl: string }): Rig {
  const scope = new AsyncDisposableStack()
  const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
  const metrics = createMetrics({ service: 'test' })
  const database = scope.adopt(
    openDatabase({
      url: databaseUrl,
      schema: 'inventory',
      client: (adapter) => new PrismaClient({ adapter }),
    }),
    (it) => it.close(),
  )
  const bus = scope.adopt(openBus({ url: natsUrl, name: 'test', log }), (it) => it.close())
  return {
    scope,
    database,
    bus,
    log,
    metrics,
    relay: (options = {}) =>
      startRelay({
        database,
        domain: 'inventory',
        bus,
        log,
        metrics,
        scope,
        pollSeconds: 0.1,
        ...options,
      }),
    async count(metric, labels = {}) {
      const values = (await metrics.registry.getSingleMetric(metric)?.get())?.values ?? []
      return values
        .filter((it) =>
          Object.entries(labels).every(([k, v]) => (it.labels as Record<string, unknown>)[k] === v),
        )
        .reduce((sum, { value }) => sum + value, 0)
    },
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
  }
}
