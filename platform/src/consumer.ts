import { z } from 'zod'
import type { Bus, Delivery } from './bus.ts'
import { Envelope, type EventContract, type EventOf } from './contract.ts'
import type { Database, PrismaLike, SqlDatabase, Tx } from './database.ts'
import { fault } from './fault-points.ts'
import { deriveUuid } from './ids.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { withinRequest } from './request-scope.ts'
import type { Sql } from './sql.ts'

/** What is done on an event, in the transaction that also remembers it as done. */
export type EventHandler<D extends SqlDatabase = SqlDatabase> = {
  readonly contract: EventContract
  /** Opens the transaction; `once` tells whether the event is new. */
  run(
    database: D,
    event: EventOf<EventContract>,
    once: (sql: Sql) => Promise<boolean>,
  ): Promise<boolean>
}

/** Handles an event on a bare connection. What the handler does outside `sql` must bear repetition. */
export function onEvent<C extends EventContract>(
  contract: C,
  handle: (event: EventOf<C>, sql: Sql) => Promise<void>,
): EventHandler {
  return {
    contract,
    run: (database, event, once) =>
      database.sqlTransaction(async (sql) => {
        if (!(await once(sql))) return false
        await handle(event as EventOf<C>, sql)
        return true
      }),
  }
}

/** The same in a Prisma transaction, at half the speed. */
export function onEventWithPrisma<C extends EventContract, P extends PrismaLike>(
  contract: C,
  handle: (event: EventOf<C>, tx: Tx<P>) => Promise<void>,
): EventHandler<Database<P>> {
  return {
    contract,
    run: (database, event, once) =>
      database.transaction(async (tx) => {
        if (!(await once(tx.sql))) return false
        await handle(event as EventOf<C>, tx)
        return true
      }),
  }
}

export type ConsumerOptions<D extends SqlDatabase> = {
  bus: Bus
  database: D
  /** Of the consuming service: its replicas share the work. */
  name: string
  /** Whose events. */
  domain: string
  on: readonly EventHandler<D>[]
  log: Log
  metrics: Metrics
  /** Ends it, after the event that is being handled. */
  scope: AsyncDisposableStack
  ackWaitSeconds?: number
  backoffSeconds?: (attempt: number) => number
}

/**
 * Handles a domain's events in order, each exactly once as far as the database goes: what a handler
 * writes commits together with the event's id. A handler that fails is called again, with growing
 * pauses, and holds up all that follows; nothing is dropped. What cannot be understood is set aside
 * in `processed_events` with its error.
 */
export function startConsumer<D extends SqlDatabase>(options: ConsumerOptions<D>): void {
  const { bus, database, name, domain, log, metrics, scope } = options
  const handlers = new Map(options.on.map((it) => [it.contract.subject, it]))
  const outcomes = metrics.counter('berth_consumer_events_total', 'Events by what became of them', [
    'consumer',
    'outcome',
  ])
  const retrying = metrics.gauge('berth_consumer_attempt', 'Attempt at the event in hand', [
    'consumer',
  ])
  const consumer = `${name}-${domain}`
  const count = (outcome: Outcome) => outcomes.inc({ consumer, outcome })

  async function handle(delivery: Delivery): Promise<void> {
    const handler = handlers.get(delivery.subject)
    if (!handler) return count('ignored')
    const event = decode(handler.contract, delivery)
    if ('error' in event) {
      log.error({ consumer, subject: delivery.subject, reason: event.error }, 'an event was parked')
      await remember(database.sql, { consumer, eventId: event.id, error: event.error })
      return count('parked')
    }
    // What comes of an event belongs to the request that the event came of.
    const request = { requestId: event.event.correlationId ?? event.id, origin: `event:${domain}` }
    const isNew = await withinRequest(request, () =>
      handler.run(database, event.event, (sql) => remember(sql, { consumer, eventId: event.id })),
    )
    await fault('consumer.handled')
    count(isNew ? 'handled' : 'repeated')
  }

  const consuming = bus.consume({
    domain,
    durable: consumer,
    ...(options.ackWaitSeconds === undefined ? {} : { ackWaitSeconds: options.ackWaitSeconds }),
    ...(options.backoffSeconds ? { backoffSeconds: options.backoffSeconds } : {}),
    async handler(delivery) {
      retrying.set({ consumer }, delivery.attempt)
      try {
        await handle(delivery)
        retrying.set({ consumer }, 0)
      } catch (error) {
        count('failed')
        const { subject, attempt } = delivery
        log.error({ err: error, consumer, subject, attempt }, 'an event failed and is tried again')
        throw error
      }
    },
  })
  scope.defer(() => consuming.stop())
}

type Outcome = 'handled' | 'repeated' | 'ignored' | 'parked' | 'failed'

/** @returns false when it was there before. Waits while another transaction is about to write it. */
async function remember(
  sql: Sql,
  { consumer, eventId, error }: { consumer: string; eventId: string; error?: string },
): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO processed_events (consumer, event_id, error) VALUES ($1, $2::uuid, $3)
     ON CONFLICT DO NOTHING RETURNING 1`,
    [consumer, eventId, error ?? null],
  )
  return rows.length === 1
}

type Decoded = { id: string } & ({ event: EventOf<EventContract> } | { error: string })

function decode(contract: EventContract, { subject, text }: Delivery): Decoded {
  let id: unknown
  try {
    const json: unknown = JSON.parse(text)
    id = (json as { id?: unknown } | null)?.id
    const envelope = Envelope.parse(json)
    const data = z.decode(contract.data, envelope.data)
    return { id: envelope.id, event: { ...envelope, data } }
  } catch (error) {
    // An id of its content where it has none, so that it is parked once however often it comes.
    const parkedId = z.uuid().safeParse(id).data ?? deriveUuid(new Date(0), subject + text)
    return { id: parkedId, error: String(error).replaceAll('\0', '').slice(0, 2_000) }
  }
}
