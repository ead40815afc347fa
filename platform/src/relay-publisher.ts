import { unlessAborted } from './abort.ts'
import { type Bus, OutOfStep, type StreamState } from './bus.ts'
import type { SqlDatabase } from './database.ts'
import { fault } from './fault-points.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

export type PublisherOptions = {
  database: SqlDatabase
  domain: string
  bus: Bus
  log: Log
  metrics: Metrics
}

const PAGE = 100

/**
 * Publishes events in the order of their positions, a page per call, and records what the bus has
 * taken. Each message names the one that must come before it: the bus refuses all that follows a
 * lost one, and all of a leader that has been replaced.
 *
 * @param signal ends the wait for a bus that is away
 * @returns a function that resolves to whether there is more to do at once
 */
export function createPublisher(
  { database: { sql, sqlTransaction }, bus, domain, log, metrics }: PublisherOptions,
  signal: AbortSignal,
): () => Promise<boolean> {
  const lag = metrics.gauge('berth_outbox_lag_seconds', 'Age of the oldest unpublished event', [
    'domain',
  ])
  const published = metrics.counter('berth_outbox_published_total', 'Events published', ['domain'])

  /** The stream, after making sure that it has all that we know it had. */
  async function intactStream(): Promise<StreamState> {
    const [known] = await sql.query<{ incarnation: string; bus_seq: bigint }>(
      'SELECT incarnation, bus_seq FROM stream_positions WHERE stream = current_schema()',
    )
    // Asked after what is known: what another leader publishes in between must not look like a loss.
    const state = await unlessAborted(bus.ensureStream(domain), signal)
    const isIntact = known?.incarnation === state.incarnation && state.lastSeq >= known.bus_seq
    if (known && !isIntact) await publishAnew(state, known.incarnation !== '')
    return state
  }

  async function publishAnew(state: StreamState, isLoss: boolean): Promise<void> {
    if (isLoss) log.error({ domain }, 'the bus lost messages: everything kept is published again')
    await sqlTransaction(async (within) => {
      // A week of events can take longer than a statement otherwise may.
      await within.query('SET LOCAL statement_timeout = 0')
      await within.query(
        `UPDATE stream_positions SET incarnation = $1, bus_seq = $2::bigint, updated_at = now()
         WHERE stream = current_schema()`,
        [state.incarnation, state.lastSeq],
      )
      await within.query('UPDATE outbox SET published_at = NULL WHERE published_at IS NOT NULL')
    })
  }

  async function record(rows: readonly Row[], { incarnation, lastSeq }: StreamState) {
    await sqlTransaction(async (within) => {
      const isSame = await within.query(
        `UPDATE stream_positions SET bus_seq = greatest(bus_seq, $1::bigint), updated_at = now()
         WHERE stream = current_schema() AND incarnation = $2 RETURNING 1`,
        [lastSeq, incarnation],
      )
      // Another leader found that stream gone, and publishes these again.
      if (isSame.length === 0) throw new OutOfStep('the stream was replaced')
      await within.query('UPDATE outbox SET published_at = now() WHERE id = ANY($1::uuid[])', [
        rows.map(({ id }) => id),
      ])
    })
    published.inc({ domain }, rows.length)
  }

  return async () => {
    const { incarnation, lastSeq } = await intactStream()
    const rows = await sql.query<Row>(
      `SELECT id, subject, envelope::text AS text,
         extract(epoch FROM now() - created_at)::float8 AS age_seconds
       FROM outbox WHERE stream_seq IS NOT NULL AND published_at IS NULL
       ORDER BY stream_seq LIMIT ${PAGE}`,
    )
    lag.set({ domain }, rows[0]?.age_seconds ?? 0)
    if (rows.length === 0) return false
    const results = await Promise.allSettled(
      rows.map(({ id, subject, text }, n) =>
        bus.publish({ domain, subject, id, text, afterSeq: lastSeq + n }),
      ),
    )
    await fault('relay.published')
    const refused = results.findIndex(({ status }) => status === 'rejected')
    const taken = refused === -1 ? rows.length : refused
    if (taken > 0) {
      const numbers = results.map((it) => (it.status === 'fulfilled' ? it.value.seq : 0))
      await record(rows.slice(0, taken), {
        incarnation,
        lastSeq: Math.max(...numbers.slice(0, taken)),
      })
    }
    const reason = results.find((it) => it.status === 'rejected')?.reason
    // Messages that the bus had already do not count up, so that those after them seem out of step.
    if (refused === 0 || (reason && !(reason instanceof OutOfStep))) throw reason
    return refused > 0 || rows.length === PAGE
  }
}

type Row = { id: string; subject: string; text: string; age_seconds: number }
