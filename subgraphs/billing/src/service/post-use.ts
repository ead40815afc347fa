import type { Sql } from '@berth/platform/database'
import { fault } from '@berth/platform/fault-points'
import { ensurePartitions } from '@berth/platform/partitions'
import { reversalCause, usageCause, usageRecordId } from '../domain/causes.ts'
import { costBetween } from '../domain/rating.ts'
import { type Window, wholeSeconds, window, windowsBetween } from '../domain/windows.ts'
import { houseAccount, lockAccount } from '../store/accounts.ts'
import { post } from '../store/ledger.ts'
import type { MeterRow } from '../store/meters.ts'
import { insertUsage, type UsageRow, windowsBeyond } from '../store/usage.ts'

/**
 * Posts a meter's use up to so many seconds after its start: forward as usage, or, when more than
 * that was posted, back as reversals. The meter's row is locked by the caller, who records how far
 * it got; the account's stays locked.
 */
export async function postUse(
  sql: Sql,
  meter: MeterRow,
  toSeconds: bigint,
  now: Date,
): Promise<void> {
  await lockAccount(sql, meter.accountId)
  const revenue = await houseAccount(sql, 'REVENUE', meter.currency)
  const posting = { sql, meter, revenue, now }
  for (const it of windowsBetween(meter.startedAt, meter.meteredSeconds, toSeconds)) {
    await postWindow(posting, it)
  }
  if (toSeconds < meter.meteredSeconds) await reverseBeyond(posting, toSeconds)
}

type Posting = { sql: Sql; meter: MeterRow; revenue: string; now: Date }

async function postWindow({ sql, meter, revenue, now }: Posting, it: Window): Promise<void> {
  const cause = usageCause(meter.allocationId, it.start)
  const costMicros = costBetween(meter, it.fromSeconds, it.toSeconds)
  if (now.getTime() - it.start.getTime() > MONTH_MS) await ensurePartitions(sql, 0, it.start)
  if (costMicros > 0n) {
    await post(sql, {
      cause,
      kind: 'USAGE',
      organizationId: meter.organizationId,
      amountMicros: costMicros,
      fromAccount: meter.accountId,
      toAccount: revenue,
      postedAt: now,
    })
  }
  await fault('billing.use.posted')
  await insertUsage(sql, {
    ...recordOf(meter, 'GPU', it),
    gpuSeconds: gpuSecondsOf(meter, it),
    costMicros,
    transactionId: costMicros > 0n ? cause.id : null,
  })
  await fault('billing.use.recorded')
}

/**
 * Undoes what lies after the end: each window that reaches beyond it is reversed, wholly or in
 * part, by one transaction that names it.
 */
async function reverseBeyond({ sql, meter, revenue, now }: Posting, toSeconds: bigint) {
  const end = window(meter.startedAt, toSeconds, toSeconds).start
  const beyond = await windowsBeyond(sql, meter.allocationId, meter.startedAt, end)
  for (const record of beyond) {
    const from = secondsAt(meter, record.windowStart)
    const undone = window(
      meter.startedAt,
      from > toSeconds ? from : toSeconds,
      secondsAt(meter, record.windowEnd),
    )
    const costMicros = costBetween(meter, undone.fromSeconds, undone.toSeconds)
    const cause = record.transactionId === null ? null : reversalCause(record.transactionId)
    if (cause && record.transactionId !== null && costMicros > 0n) {
      await post(sql, {
        cause,
        kind: 'REVERSAL',
        organizationId: meter.organizationId,
        amountMicros: costMicros,
        fromAccount: revenue,
        toAccount: meter.accountId,
        postedAt: now,
        reversesId: record.transactionId,
      })
    }
    await insertUsage(sql, {
      ...recordOf(meter, 'GPU_REVERSAL', undone),
      gpuSeconds: -gpuSecondsOf(meter, undone),
      costMicros: -costMicros,
      transactionId: costMicros > 0n ? (cause?.id ?? null) : null,
    })
    await fault('billing.use.reversed')
  }
}

function recordOf(meter: MeterRow, kind: UsageRow['meter'], { start, end }: Window) {
  return {
    id: usageRecordId(kind, meter.allocationId, start),
    allocationId: meter.allocationId,
    organizationId: meter.organizationId,
    meter: kind,
    gpuModelCode: meter.gpuModelCode,
    windowStart: start,
    windowEnd: end,
    currency: meter.currency,
  }
}

function gpuSecondsOf(meter: MeterRow, { fromSeconds, toSeconds }: Window): bigint {
  return (toSeconds - fromSeconds) * BigInt(meter.gpuCount)
}

function secondsAt(meter: MeterRow, at: Date): bigint {
  return wholeSeconds(meter.startedAt, at)
}

/** Partitions are made ahead from last month on. */
const MONTH_MS = 28 * 86_400_000
