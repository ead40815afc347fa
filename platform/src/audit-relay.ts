import { unlessAborted } from './abort.ts'
import { MAX_AUDIT_CHARACTERS } from './audit.ts'
import { repeat } from './bell.ts'
import type { SqlDatabase } from './database.ts'
import { fault } from './fault-points.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { type Leadership, takeLead } from './relay-leader.ts'

/** A row of `audit_events` as it is sent; its objects are JSON text. */
export type RelayedAudit = {
  readonly id: string
  readonly organizationId: string | null
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly reason: string | null
  readonly facts: string
  readonly before: string | null
  readonly after: string | null
  readonly requestId: string | null
  readonly origin: string | null
}

export type AuditRelayOptions = {
  database: SqlDatabase
  domain: string
  /** To policy; whoever takes it knows by the ids what came before. The key is of the batch. */
  send: (batch: RelayedAudit[], key: string) => Promise<unknown>
  log: Log
  metrics: Metrics
  /** Ends it. */
  scope: AsyncDisposableStack
  /** How late a lost notification makes a row, and a dead leader its successor. */
  pollSeconds?: number
}

const PAGE = 200
/** A batch is a request's body, and well within its limit whatever the characters are. */
const BATCH_CHARACTERS = 2 * MAX_AUDIT_CHARACTERS
/** Beyond it the gauge of the backlog says no more than that there are so many. */
const COUNTED = 100_000
const RETRY_SECONDS = 1

/**
 * Sends what was audited to policy, in the order in which it was queued: one leader per domain over
 * all replicas. A row leaves the queue when policy has it, and so arrives at least once. A transaction
 * that commits late is sent when it has: behind those that came before it.
 */
export function startAuditRelay(options: AuditRelayOptions): void {
  const { database, domain, log, metrics, scope, pollSeconds = 1 } = options
  const stopping = new AbortController()
  const office = { name: 'audit-relay', channel: `audit_relay_${database.schema}` }
  const failures = metrics.counter('berth_audit_relay_failures_total', 'Failed rounds', ['domain'])
  const onError = (error: unknown) => {
    failures.inc({ domain })
    log.warn({ err: error, domain }, 'the audit relay failed and tries again')
  }
  const drain = createDrain(options)

  async function lead(leadership: Leadership): Promise<void> {
    const signal = AbortSignal.any([leadership.lost, stopping.signal])
    await repeat({
      work: () => drain(signal),
      bell: leadership.appended,
      pauseSeconds: Math.max(pollSeconds, RETRY_SECONDS),
      signal,
      onError,
    })
  }

  const running = repeat({
    work: async () => {
      await using leadership = await takeLead(database, office, pollSeconds, stopping.signal)
      if (leadership) await lead(leadership)
      return false
    },
    pauseSeconds: pollSeconds,
    signal: stopping.signal,
    onError,
  })
  scope.defer(async () => {
    stopping.abort()
    await running
  })
}

/** One batch per call. @returns a function that resolves to whether there is more */
function createDrain({ database: { sql }, domain, send, log, metrics }: AuditRelayOptions) {
  const labels = ['domain'] as const
  const rows = metrics.gauge('berth_audit_backlog_rows', 'Audit rows that policy lacks', labels)
  const age = metrics.gauge('berth_audit_backlog_seconds', 'Age of the oldest of them', labels)
  const sent = metrics.counter('berth_audit_relayed_total', 'Audit rows that policy took', labels)
  const lost = metrics.counter('berth_audit_lost_total', 'Audit rows removed before that', labels)

  return async (signal: AbortSignal): Promise<boolean> => {
    await measure()
    const queued = await sql.query<Queued>(
      `SELECT q.seq, q.id AS queued_id, a.id, a.organization_id AS "organizationId",
         a.actor::text AS actor, a.action, a.target, a.reason, a.facts::text AS facts,
         a.before::text AS before, a.after::text AS after, a.request_id AS "requestId", a.origin
       FROM (SELECT seq, id, at FROM audit_relay ORDER BY seq LIMIT ${PAGE}) q
       LEFT JOIN audit_events a ON a.id = q.id AND a.at = q.at
       ORDER BY q.seq`,
    )
    const taken = batchOf(queued)
    const batch = taken.flatMap(({ seq: _seq, queued_id: _id, ...row }) =>
      row.id === null ? [] : [row as RelayedAudit],
    )
    const first = batch[0]
    if (first) {
      await unlessAborted(send(batch, `audit/${first.id}/${batch.length}`), signal)
      await fault('audit.sent')
      sent.inc({ domain }, batch.length)
    }
    for (const { id, queued_id } of taken) {
      if (id !== null) continue
      // Only whoever owns the tables can have done it.
      lost.inc({ domain })
      log.error({ domain, id: queued_id }, 'an audit row was deleted before policy had it')
    }
    if (taken.length > 0) {
      await sql.query('DELETE FROM audit_relay WHERE seq = ANY ($1::bigint[])', [
        taken.map(({ seq }) => seq),
      ])
    }
    const hasMore = queued.length === PAGE || taken.length < queued.length
    if (!hasMore && taken.length > 0) await measure()
    return hasMore
  }

  async function measure(): Promise<void> {
    const [found] = await sql.query<{ rows: bigint; seconds: number | null }>(
      `SELECT (SELECT count(*) FROM (SELECT FROM audit_relay LIMIT ${COUNTED}) q) AS rows,
         (SELECT extract(epoch FROM now() - queued_at)::float8 FROM audit_relay
          ORDER BY seq LIMIT 1) AS seconds`,
    )
    rows.set({ domain }, Number(found?.rows ?? 0n))
    age.set({ domain }, found?.seconds ?? 0)
  }
}

type Queued = { seq: bigint; queued_id: string } & (RelayedAudit | { id: null })

function batchOf(queued: readonly Queued[]): readonly Queued[] {
  let characters = 0
  const end = queued.findIndex((row) => {
    characters += JSON.stringify(row, (_name, it) => (typeof it === 'bigint' ? '' : it)).length
    return characters > BATCH_CHARACTERS
  })
  return end === -1 ? queued : queued.slice(0, Math.max(1, end))
}
