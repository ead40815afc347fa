import type { Sql } from '@berth/platform/database'
import type { Micros } from '@berth/platform/money'
import type { Run } from '../domain/causes.ts'

/** One run of an allocation, from RUNNING to its end. */
export type MeterRow = Run & {
  readonly startedAt: Date
  readonly organizationId: string
  readonly accountId: string
  readonly gpuModelCode: string
  readonly gpuCount: number
  readonly currency: string
  readonly perHourMicros: Micros
  /** How far use is posted, in whole seconds since the start. */
  readonly meteredSeconds: bigint
  readonly endedAt: Date | null
}

const COLUMNS = `allocation_id AS "allocationId", run, started_at AS "startedAt",
  organization_id AS "organizationId", account_id AS "accountId", gpu_model_code AS "gpuModelCode",
  gpu_count AS "gpuCount", currency, per_hour_micros AS "perHourMicros",
  metered_seconds AS "meteredSeconds", ended_at AS "endedAt"`

export type MeterKey = Run

/**
 * Opens a meter, unless this run has one, or another run's is still open. No conflict target: of two
 * that open the same one at once, either unique index may be the first to notice.
 */
export async function insertMeter(
  sql: Sql,
  meter: Omit<MeterRow, 'meteredSeconds' | 'endedAt'>,
): Promise<void> {
  await sql.query(
    `INSERT INTO meters (allocation_id, started_at, organization_id, account_id, gpu_model_code,
       gpu_count, currency, per_hour_micros, metered_until, run)
     VALUES ($1::uuid, $2::timestamptz, $3::uuid, $4::uuid, $5, $6::int, $7, $8::bigint,
       $2::timestamptz, $9::int)
     ON CONFLICT DO NOTHING`,
    [
      meter.allocationId,
      meter.startedAt,
      meter.organizationId,
      meter.accountId,
      meter.gpuModelCode,
      meter.gpuCount,
      meter.currency,
      meter.perHourMicros,
      meter.run,
    ],
  )
}

export async function lockMeter(sql: Sql, key: MeterKey): Promise<MeterRow | null> {
  const [meter] = await sql.query<MeterRow>(
    `SELECT ${COLUMNS} FROM meters
     WHERE allocation_id = $1::uuid AND run = $2::int FOR UPDATE`,
    [key.allocationId, key.run],
  )
  return meter ?? null
}

/** Open meters that were not read since `before`, the longest unread first. */
export async function dueMeters(sql: Sql, before: Date, limit: number): Promise<MeterKey[]> {
  return sql.query<MeterKey>(
    `SELECT allocation_id AS "allocationId", run FROM meters
     WHERE ended_at IS NULL AND metered_until <= $1::timestamptz
     ORDER BY metered_until LIMIT $2::int`,
    [before, limit],
  )
}

/** Locks a meter if it is due still and nobody else reads it. */
export async function claimDueMeter(
  sql: Sql,
  key: MeterKey,
  before: Date,
): Promise<MeterRow | null> {
  const [meter] = await sql.query<MeterRow>(
    `SELECT ${COLUMNS} FROM meters
     WHERE allocation_id = $1::uuid AND run = $2::int
       AND ended_at IS NULL AND metered_until <= $3::timestamptz
     FOR UPDATE SKIP LOCKED`,
    [key.allocationId, key.run, before],
  )
  return meter ?? null
}

/** Records how far use is posted, and with `endedAt` that no more follows. */
export async function setMetered(
  sql: Sql,
  key: MeterKey,
  meteredSeconds: bigint,
  endedAt: Date | null,
): Promise<void> {
  await sql.query(
    `UPDATE meters SET metered_seconds = $3::bigint, ended_at = $4::timestamptz,
       metered_until = started_at + make_interval(secs => $3::bigint)
     WHERE allocation_id = $1::uuid AND run = $2::int`,
    [key.allocationId, key.run, meteredSeconds, endedAt],
  )
}

export async function hasMeter(sql: Sql, { allocationId, run }: Run): Promise<boolean> {
  const rows = await sql.query(
    'SELECT FROM meters WHERE allocation_id = $1::uuid AND run = $2::int',
    [allocationId, run],
  )
  return rows.length > 0
}
