import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import { fault } from '@berth/platform/fault-points'
import type { Log } from '@berth/platform/log'
import { appendEvent } from '@berth/platform/outbox'
import { balanceDepleted } from '@berth/schema/events/billing'
import type { Run } from '../domain/causes.ts'
import { renewed } from '../domain/cover.ts'
import { wholeSeconds } from '../domain/windows.ts'
import { lockAccount, markDepleted, openAccount } from '../store/accounts.ts'
import { endHold, keepHold, readHold, resizeHold } from '../store/holds.ts'
import {
  claimDueMeter,
  dueMeters,
  insertMeter,
  lockMeter,
  type MeterKey,
  type MeterRow,
  setMetered,
} from '../store/meters.ts'
import { pricesAt } from '../store/prices.ts'
import { voidHold } from './holds.ts'
import { postUse } from './post-use.ts'

export type MeteringDeps = {
  database: Pick<Database, 'sql' | 'sqlTransaction'>
  clock: Clock
  log: Log
  currency: string
  /** The least that a window lasts. */
  windowSeconds: number
  /** How late use is posted: an end that is on its way then needs no reversal. */
  settleSeconds: number
}

/** What an event tells of a run of an allocation. Ids are uuids. */
export type AllocationFacts = Run & {
  organizationId: string
  gpuModel: string
  gpuCount: number
  /** When the run began; null when it has not. */
  startedAt: Date | null
  /** When it ceased to be billed; null when it has not. */
  endedAt: Date | null
}

export type Metering = {
  /**
   * Takes note of an allocation's start and end, in the caller's transaction. Facts only add up:
   * repeated and out of order they lead to the same meter, usage, ledger and hold.
   */
  note(sql: Sql, facts: AllocationFacts): Promise<void>
  /**
   * Posts a window for each meter that is due, each in a transaction of its own; replicas share
   * the work. One that fails is logged and does not hold up the others.
   */
  tick(signal?: AbortSignal): Promise<{ posted: number; failed: number }>
}

export function createMetering(deps: MeteringDeps): Metering {
  const { database, clock, log } = deps
  return {
    note: (sql, facts) => note(sql, deps, facts),
    async tick(signal) {
      const cutoff = new Date(clock.now().getTime() - deps.settleSeconds * 1_000)
      const before = new Date(cutoff.getTime() - deps.windowSeconds * 1_000)
      const due = await dueMeters(database.sql, before, METERS_PER_TICK)
      const result = { posted: 0, failed: 0 }
      async function lane(): Promise<void> {
        for (let key = due.shift(); key && !signal?.aborted; key = due.shift()) {
          const meter = key
          try {
            const isPosted = await database.sqlTransaction((sql) =>
              postDue(sql, deps, meter, { cutoff, before }),
            )
            if (isPosted) result.posted += 1
          } catch (error) {
            result.failed += 1
            log.error({ err: error, allocation: meter.allocationId }, 'a meter could not be read')
          }
        }
      }
      await Promise.all(Array.from({ length: LANES }, lane))
      return result
    },
  }
}

const METERS_PER_TICK = 10_000
const LANES = 4

/** Locks are taken in the order meter, account, hold. */
async function note(sql: Sql, deps: MeteringDeps, facts: AllocationFacts): Promise<void> {
  const { organizationId, startedAt, endedAt } = facts
  if (startedAt === null) {
    if (endedAt !== null) await voidHold(sql, organizationId, facts, deps.clock.now())
    return
  }
  const meter = await openMeter(sql, deps, { ...facts, startedAt })
  if (endedAt !== null) await closeMeter(sql, deps, meter, endedAt)
}

async function openMeter(
  sql: Sql,
  { clock, currency }: MeteringDeps,
  facts: AllocationFacts & { startedAt: Date },
): Promise<MeterRow> {
  const { allocationId, run, organizationId, gpuModel, gpuCount, startedAt } = facts
  const known = await lockMeter(sql, facts)
  if (known) return known
  const hold = await readHold(sql, facts)
  const perHourMicros =
    hold?.perHourMicros ??
    (await pricesAt(sql, [gpuModel], currency, startedAt)).get(gpuModel)?.perHourMicros
  // Until somebody sets it, so that nothing runs for free; no hold is placed without a price.
  if (perHourMicros === undefined) throw new Error(`${gpuModel} runs and has no price`)
  const accountId = await openAccount(sql, organizationId, currency, clock.now())
  const meter = { allocationId, run, startedAt, organizationId, accountId, currency }
  await insertMeter(sql, { ...meter, gpuModelCode: gpuModel, gpuCount, perHourMicros })
  await fault('billing.meter.opened')
  const opened = await lockMeter(sql, facts)
  if (!opened) throw new Error('a meter that was just opened is not there')
  await lockAccount(sql, accountId)
  await keepHold(sql, facts)
  return opened
}

async function closeMeter(
  sql: Sql,
  { clock }: MeteringDeps,
  meter: MeterRow,
  endedAt: Date,
): Promise<void> {
  if (meter.endedAt !== null) return
  const end = endedAt < meter.startedAt ? meter.startedAt : endedAt
  const seconds = wholeSeconds(meter.startedAt, end)
  const now = clock.now()
  await postUse(sql, meter, seconds, now)
  await setMetered(sql, meter, seconds, end)
  await fault('billing.meter.closed')
  await endHold(sql, meter, 'SETTLED', now)
  await fault('billing.hold.settled')
}

async function postDue(
  sql: Sql,
  { clock }: MeteringDeps,
  key: MeterKey,
  { cutoff, before }: { cutoff: Date; before: Date },
): Promise<boolean> {
  const meter = await claimDueMeter(sql, key, before)
  if (!meter) return false
  const now = clock.now()
  const seconds = wholeSeconds(meter.startedAt, cutoff)
  await postUse(sql, meter, seconds, now)
  await setMetered(sql, meter, seconds, null)
  await fault('billing.meter.advanced')
  await renewHold(sql, meter, now)
  await fault('billing.hold.renewed')
  return true
}

/**
 * Fills the hold up again. When credit does not reach, that is told: once for what runs at that
 * moment, and again for what began to run later.
 */
async function renewHold(sql: Sql, meter: MeterRow, now: Date): Promise<void> {
  const account = await lockAccount(sql, meter.accountId)
  const hold = await readHold(sql, meter)
  const placed = hold?.state === 'PLACED' ? hold : null
  const available = account.postedMicros - account.heldMicros
  const { amountMicros, isShort } = renewed(placed ?? NOTHING, available)
  if (placed) await resizeHold(sql, placed.id, amountMicros)
  const isTold = account.depletedAt !== null && meter.startedAt < account.depletedAt
  if (!isShort || isTold) return
  const aggregateSeq = await markDepleted(sql, account.id, now)
  await appendEvent(sql, balanceDepleted, {
    aggregateId: account.id,
    aggregateSeq,
    organizationId: account.organizationId,
    occurredAt: now,
    data: { currency: account.currency },
  })
}

const NOTHING = { amountMicros: 0n, fullMicros: 0n }
