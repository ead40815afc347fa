import type { Sql } from '@berth/platform/database'
import type { Micros } from '@berth/platform/money'
import type { Meter } from '../domain/causes.ts'

export type UsageRow = {
  readonly id: string
  readonly allocationId: string
  readonly organizationId: string
  readonly meter: Meter
  readonly gpuModelCode: string
  readonly windowStart: Date
  /** Exclusive. */
  readonly windowEnd: Date
  /** Negative, like the cost, in a reversal. */
  readonly gpuSeconds: bigint
  readonly costMicros: Micros
  readonly currency: string
  readonly transactionId: string | null
}

const COLUMNS = `id, allocation_id AS "allocationId", organization_id AS "organizationId", meter,
  gpu_model_code AS "gpuModelCode", window_start AS "windowStart", window_end AS "windowEnd",
  gpu_seconds AS "gpuSeconds", cost_micros AS "costMicros", currency,
  transaction_id AS "transactionId"`

/** @throws 23505 when the window is recorded already: its meter's lock should have prevented it */
export async function insertUsage(sql: Sql, usage: UsageRow): Promise<void> {
  await sql.query(
    `INSERT INTO usage_records (id, allocation_id, organization_id, meter, gpu_model_code,
       window_start, window_end, gpu_seconds, cost_micros, currency, transaction_id)
     VALUES ($1::uuid, $2::uuid, $3::uuid, $4, $5, $6::timestamptz, $7::timestamptz, $8::bigint,
       $9::bigint, $10, $11::uuid)`,
    [
      usage.id,
      usage.allocationId,
      usage.organizationId,
      usage.meter,
      usage.gpuModelCode,
      usage.windowStart,
      usage.windowEnd,
      usage.gpuSeconds,
      usage.costMicros,
      usage.currency,
      usage.transactionId,
    ],
  )
}

/** The windows of one run that reach beyond an instant, oldest first. */
export async function windowsBeyond(
  sql: Sql,
  allocationId: string,
  startedAt: Date,
  instant: Date,
): Promise<UsageRow[]> {
  return sql.query<UsageRow>(
    `SELECT ${COLUMNS} FROM usage_records
     WHERE allocation_id = $1::uuid AND meter = 'GPU' AND window_start >= $2::timestamptz
       AND window_end > $3::timestamptz
     ORDER BY window_start`,
    [allocationId, startedAt, instant],
  )
}

/** Newest first, after this record's id. */
export async function listUsage(
  sql: Sql,
  organizationId: string,
  filter: { allocationId: string | null },
  page: { take: number; after: string | null },
): Promise<UsageRow[]> {
  return sql.query<UsageRow>(
    `SELECT ${COLUMNS} FROM usage_records
     WHERE organization_id = $1::uuid AND ($2::uuid IS NULL OR allocation_id = $2::uuid)
       AND ($3::uuid IS NULL OR id < $3::uuid)
     ORDER BY id DESC LIMIT $4::int`,
    [organizationId, filter.allocationId, page.after, page.take],
  )
}

export async function usageById(
  sql: Sql,
  organizationId: string,
  ids: readonly string[],
): Promise<UsageRow[]> {
  return sql.query<UsageRow>(
    `SELECT ${COLUMNS} FROM usage_records
     WHERE organization_id = $1::uuid AND id = ANY ($2::uuid[])`,
    [organizationId, ids],
  )
}

/**
 * What these allocations have cost, by id: what their meters have counted, for a month of a run is
 * more records than a page can sum. Without an organization: whosesoever they are.
 */
export async function costOf(
  sql: Sql,
  organizationId: string | null,
  allocationIds: readonly string[],
  currency: string,
): Promise<Map<string, Micros>> {
  // SUM of bigint is numeric in Postgres: converted here, once.
  const rows = await sql.query<{ id: string; costMicros: Micros }>(
    `SELECT allocation_id AS id, sum(cost_micros)::bigint AS "costMicros" FROM meters
     WHERE allocation_id = ANY ($1::uuid[]) AND ($2::uuid IS NULL OR organization_id = $2::uuid)
       AND currency = $3
     GROUP BY allocation_id`,
    [allocationIds, organizationId, currency],
  )
  return new Map(rows.map(({ id, costMicros }) => [id, costMicros]))
}
