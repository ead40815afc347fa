import { createBell, repeat } from '@berth/platform/bell'
import type { Clock } from '@berth/platform/clock'
import type { Sql } from '@berth/platform/database'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { CallerAuthority } from '../engine/port.ts'
import type { DecisionRecord } from '../model.ts'
import { insertDecisions, sweepDecisions } from '../store/decisions.ts'

/** What is told of a decision: all but what the log adds. */
export type Told = Omit<DecisionRecord, 'id' | 'at' | 'weight' | keyof CallerAuthority> & {
  readonly authority: CallerAuthority
}

/** Where decisions are told. It takes no time, and loses some rather than make anybody wait. */
export type DecisionLog = { tell(decision: Told): void }

/** Of what was granted, one in twenty is kept, and of answers about all actions one in ten. */
const GRANTED_WEIGHT = 20
const ALL_WEIGHT = 10
/** In a minute, of each sort; refusals are all kept up to this. */
const PER_MINUTE = 600
/** Of those, of one organization: what one is refused all the time hides nothing of another's. */
const PER_ORGANIZATION = 100
const BUFFERED = 2_000
const FLUSH_SECONDS = 1
const SWEEP_SECONDS = 600

/**
 * The decision log, written every second until the scope ends.
 *
 * @param random from 0 to below 1
 */
export function createDecisionLog({
  sql,
  log,
  metrics,
  clock,
  scope,
  random = Math.random,
}: {
  sql: Sql
  log: Log
  metrics: Metrics
  clock: Clock
  scope: AsyncDisposableStack
  random?: () => number
}): DecisionLog {
  const told = metrics.counter('berth_policy_decisions_total', 'Decisions, by why', ['basis'])
  const lost = metrics.counter(
    'berth_policy_decisions_unlogged_total',
    'Decisions that the log would have kept but for its bounds, or because it could not be written',
  )
  /** How many were kept in this minute: by their sort, and by that and their organization. */
  const kept = new Map<string, number>()
  let minute = 0
  let buffer: DecisionRecord[] = []
  const bell = createBell()
  const stopping = new AbortController()
  const { signal } = stopping
  const running = Promise.all([
    repeat({ work: flush, bell, pauseSeconds: FLUSH_SECONDS, signal, onError: () => undefined }),
    repeat({
      work: () => sweepDecisions(sql),
      pauseSeconds: SWEEP_SECONDS,
      signal,
      onError: (error) => log.error({ err: error }, 'sweeping decisions failed'),
    }),
  ])
  scope.defer(async () => {
    stopping.abort()
    await running
    await flush()
  })

  return {
    tell({ authority, ...decision }) {
      told.inc({ basis: decision.basis ?? 'ALL' })
      const sort = decision.action === null ? 'all' : decision.isGranted ? 'granted' : 'refused'
      const weight = { all: ALL_WEIGHT, granted: GRANTED_WEIGHT, refused: 1 }[sort]
      if (random() * weight >= 1) return
      const now = clock.now()
      const { kind, organizationId, roles } = authority
      if (isWithin(sort, organizationId, now) && buffer.length < BUFFERED) {
        buffer.push({ ...decision, kind, organizationId, roles, id: newUuid(), at: now, weight })
      } else {
        lost.inc()
      }
    },
  }

  function isWithin(sort: string, organizationId: string | null, now: Date): boolean {
    const current = Math.floor(now.getTime() / 60_000)
    if (current !== minute) kept.clear()
    minute = current
    const own = `${sort} ${organizationId}`
    const [ofAll, ofOwn] = [kept.get(sort) ?? 0, kept.get(own) ?? 0]
    if (ofAll >= PER_MINUTE || ofOwn >= PER_ORGANIZATION) return false
    kept.set(sort, ofAll + 1).set(own, ofOwn + 1)
    return true
  }

  async function flush(): Promise<false> {
    const records = buffer
    buffer = []
    if (records.length === 0) return false
    try {
      await insertDecisions(sql, records)
    } catch (error) {
      lost.inc(records.length)
      log.warn({ err: error, decisions: records.length }, 'decisions could not be logged')
    }
    return false
  }
}
