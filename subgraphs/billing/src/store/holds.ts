import type { Sql } from '@berth/platform/database'
import type { Micros } from '@berth/platform/money'
import { holdId, type Run } from '../domain/causes.ts'

export type HoldState = 'PLACED' | 'SETTLED' | 'VOIDED' | 'EXPIRED'

export type Hold = Run & {
  readonly id: string
  readonly organizationId: string
  /** Null when it was voided before it was placed. */
  readonly accountId: string | null
  readonly state: HoldState
  readonly amountMicros: Micros
  readonly fullMicros: Micros
  readonly gpuModelCode: string | null
  readonly gpuCount: number | null
  readonly perHourMicros: Micros | null
}

const COLUMNS = `id, allocation_id AS "allocationId", run, organization_id AS "organizationId",
  account_id AS "accountId", state, amount_micros AS "amountMicros", full_micros AS "fullMicros",
  gpu_model_code AS "gpuModelCode", gpu_count AS "gpuCount", per_hour_micros AS "perHourMicros"`

export async function readHold(sql: Sql, { allocationId, run }: Run): Promise<Hold | null> {
  const [hold] = await sql.query<Hold>(
    `SELECT ${COLUMNS} FROM holds WHERE allocation_id = $1::uuid AND run = $2::int`,
    [allocationId, run],
  )
  return hold ?? null
}

export type NewHold = Run & {
  organizationId: string
  accountId: string
  amountMicros: Micros
  gpuModelCode: string
  gpuCount: number
  perHourMicros: Micros
  placedAt: Date
  expiresAt: Date
}

/** @returns false when the run has one already, or was voided before */
export async function insertHold(sql: Sql, hold: NewHold): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO holds (id, allocation_id, organization_id, account_id, state, amount_micros,
       full_micros, gpu_model_code, gpu_count, per_hour_micros, placed_at, expires_at, run)
     VALUES ($1::uuid, $2::uuid, $3::uuid, $4::uuid, 'PLACED', $5::bigint, $5::bigint, $6, $7::int,
       $8::bigint, $9::timestamptz, $10::timestamptz, $11::int)
     ON CONFLICT DO NOTHING RETURNING id`,
    [
      holdId(hold),
      hold.allocationId,
      hold.organizationId,
      hold.accountId,
      hold.amountMicros,
      hold.gpuModelCode,
      hold.gpuCount,
      hold.perHourMicros,
      hold.placedAt,
      hold.expiresAt,
      hold.run,
    ],
  )
  return rows.length === 1
}

/** Keeps a hold of this run from ever being placed, unless it has one. */
export async function insertVoided(
  sql: Sql,
  organizationId: string,
  run: Run,
  at: Date,
): Promise<void> {
  await sql.query(
    `INSERT INTO holds (id, allocation_id, organization_id, state, amount_micros, full_micros,
       placed_at, ended_at, run)
     VALUES ($1::uuid, $2::uuid, $3::uuid, 'VOIDED', 0, 0, $4::timestamptz, $4::timestamptz, $5::int)
     ON CONFLICT DO NOTHING`,
    [holdId(run), run.allocationId, organizationId, at, run.run],
  )
}

/**
 * PLACED → its end, by compare-and-set: of all who try, one does it. The account gets back what was
 * held, in the same statement.
 */
export async function endHold(
  sql: Sql,
  { allocationId, run }: Run,
  state: Exclude<HoldState, 'PLACED'>,
  at: Date,
): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE holds SET state = $2, ended_at = $3::timestamptz
     WHERE allocation_id = $1::uuid AND run = $4::int AND state = 'PLACED' RETURNING id`,
    [allocationId, state, at, run],
  )
  return rows.length === 1
}

export async function resizeHold(sql: Sql, id: string, amountMicros: Micros): Promise<void> {
  await sql.query(
    `UPDATE holds SET amount_micros = $2::bigint
     WHERE id = $1::uuid AND state = 'PLACED' AND amount_micros <> $2::bigint`,
    [id, amountMicros],
  )
}

/** From now on its allocation runs: it ends with that, and not by itself. */
export async function keepHold(sql: Sql, { allocationId, run }: Run): Promise<void> {
  await sql.query(
    `UPDATE holds SET expires_at = NULL
     WHERE allocation_id = $1::uuid AND run = $2::int AND state = 'PLACED'
       AND expires_at IS NOT NULL`,
    [allocationId, run],
  )
}

/** Holds whose time is over, to be ended under their account's lock. */
export async function lapsedHolds(sql: Sql, now: Date, limit: number): Promise<Hold[]> {
  return sql.query<Hold>(
    `SELECT ${COLUMNS} FROM holds
     WHERE state = 'PLACED' AND expires_at <= $1::timestamptz ORDER BY expires_at LIMIT $2::int`,
    [now, limit],
  )
}

/** Like `endHold` with EXPIRED, unless its allocation has begun to run meanwhile. */
export async function expireHold(sql: Sql, id: string, now: Date): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE holds SET state = 'EXPIRED', ended_at = $2::timestamptz
     WHERE id = $1::uuid AND state = 'PLACED' AND expires_at <= $2::timestamptz RETURNING id`,
    [id, now],
  )
  return rows.length === 1
}
