import { type FakeClock, fakeClock } from '@berth/platform/clock'
import { type Database, openDatabase, type Sql } from '@berth/platform/database'
import { newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import type { Micros } from '@berth/platform/money'
import { type TestDatabase, testDatabase } from '@berth/platform/test-kit/index'
import { PrismaClient } from '@berth/prisma/billing'
import pg from 'pg'
import { expect } from 'vitest'
import { fullCover } from './domain/cover.ts'
import { priceOf } from './domain/rating.ts'
import { createCredit } from './service/credit.ts'
import { createHolds, type Holds } from './service/holds.ts'
import { type AllocationFacts, createMetering, type Metering } from './service/metering.ts'

/** What the migration charges for it. */
export const MODEL = 'a100-sxm4-80gb'
export const PER_HOUR = 1_790_000n
export const WINDOW = 60
export const COVER = { window: 120, notice: 60, stop: 180 }
export const SETTLE = 5

export type Replica = { database: Database<PrismaClient>; holds: Holds; metering: Metering }

export type Fixture = AsyncDisposable & {
  kit: TestDatabase
  clock: FakeClock
  /** Two of the service, on pools of their own. */
  replicas: readonly [Replica, Replica]
  sql: Sql
  organization(creditMicros?: Micros): Promise<string>
  balance(organizationId: string): Promise<{ posted: bigint; held: bigint }>
  note(facts: AllocationFacts, replica?: Replica): Promise<void>
  depletions(organizationId: string): Promise<number>
  /** As nobody in production is. */
  asAdmin(text: string, values: unknown[]): Promise<void>
}

export async function openFixture(start = '2026-11-10T12:00:00.250Z'): Promise<Fixture> {
  const kit = await testDatabase('billing')
  const clock = fakeClock(start)
  const log = createLog({ service: 'billing', instance: 'billing-test', level: 'silent' })
  const open = (): Replica => {
    const database = openDatabase({
      url: kit.appUrl,
      schema: 'billing',
      client: (adapter) => new PrismaClient({ adapter }),
    })
    const common = { database, clock, log, currency: 'USD' }
    return {
      database,
      holds: createHolds({ ...common, cover: COVER, lapseSeconds: 3_600 }),
      metering: createMetering({ ...common, windowSeconds: WINDOW, settleSeconds: SETTLE }),
    }
  }
  const replicas = [open(), open()] as const
  const { sql } = replicas[0].database
  return {
    kit,
    clock,
    replicas,
    sql,
    async organization(creditMicros = 100_000_000n) {
      const id = newUuid()
      const credit = createCredit({ clock, currency: 'USD', starterCreditMicros: creditMicros })
      await replicas[0].database.sqlTransaction((tx) => credit.welcome(tx, id))
      return id
    },
    async balance(organizationId) {
      const [row] = await sql.query<{ posted: bigint; held: bigint }>(
        `SELECT posted_micros AS posted, held_micros AS held FROM ledger_accounts
         WHERE organization_id = $1::uuid`,
        [organizationId],
      )
      return row!
    },
    note: (facts, { database, metering } = replicas[0]) =>
      database.sqlTransaction((tx) => metering.note(tx, facts)),
    async depletions(organizationId) {
      const rows = await sql.query(
        `SELECT FROM outbox WHERE organization_id = $1::uuid
           AND subject = 'berth.billing.account.depleted.v1'`,
        [organizationId],
      )
      return rows.length
    },
    async asAdmin(text, values) {
      const admin = new pg.Client({ connectionString: kit.adminUrl })
      await admin.connect()
      try {
        await admin.query(text, values)
      } finally {
        await admin.end()
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(replicas.map(({ database }) => database.close()))
      await kit.drop()
    },
  }
}

export function facts(
  organizationId: string,
  given: Partial<AllocationFacts> = {},
): AllocationFacts {
  return {
    allocationId: newUuid(),
    run: 1,
    organizationId,
    gpuModel: MODEL,
    gpuCount: 2,
    startedAt: null,
    endedAt: null,
    ...given,
  }
}

/** What a full hold for so many GPUs takes. */
export function holdMicros(gpuCount: number): Micros {
  return fullCover({ gpuCount, perHourMicros: PER_HOUR }, COVER)
}

/** Fails unless everything that must add up does. */
export async function checkBooks(adminUrl: string): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl, options: '-c search_path=billing' })
  await admin.connect()
  try {
    const wrong = async (name: string, query: string) => {
      const { rows } = await admin.query(query)
      expect({ [name]: rows }).toEqual({ [name]: [] })
    }
    await wrong(
      'transactions that do not sum to zero',
      `SELECT transaction_id FROM ledger_entries GROUP BY transaction_id, currency
       HAVING sum(amount_micros) <> 0 OR count(*) < 2`,
    )
    await wrong(
      'balances that are not the sum of their entries',
      `SELECT account.id FROM ledger_accounts AS account
       LEFT JOIN ledger_entries AS entry ON entry.account_id = account.id
       WHERE account.organization_id IS NOT NULL
       GROUP BY account.id HAVING account.posted_micros <> coalesce(sum(amount_micros), 0)`,
    )
    await wrong(
      'accounts that hold something else than their holds',
      `SELECT account.id FROM ledger_accounts AS account
       LEFT JOIN holds ON holds.account_id = account.id AND holds.state = 'PLACED'
       GROUP BY account.id HAVING account.held_micros <> coalesce(sum(amount_micros), 0)`,
    )
    await wrong(
      'usage whose cost is not what was posted',
      `SELECT coalesce(usage.organization_id, entry.organization_id)
       FROM (SELECT organization_id, sum(cost_micros) AS micros FROM usage_records GROUP BY 1) AS usage
       FULL JOIN (
         SELECT entry.organization_id, -sum(amount_micros) AS micros FROM ledger_entries AS entry
         JOIN ledger_transactions AS posted ON posted.id = entry.transaction_id
         WHERE posted.kind IN ('USAGE', 'REVERSAL') AND entry.organization_id IS NOT NULL GROUP BY 1
       ) AS entry USING (organization_id)
       WHERE coalesce(usage.micros, 0) <> coalesce(entry.micros, 0)`,
    )
    await wrong(
      'closed meters with a hold, or windows that overlap',
      `SELECT allocation_id FROM meters JOIN holds USING (allocation_id, run)
       WHERE meters.ended_at IS NOT NULL AND holds.state = 'PLACED'
       UNION ALL
       SELECT a.allocation_id FROM usage_records AS a JOIN usage_records AS b
         ON a.allocation_id = b.allocation_id AND a.meter = b.meter AND a.id <> b.id
        AND a.window_start < b.window_end AND b.window_start < a.window_end`,
    )
    const { rows: meters } = await admin.query<{
      gpu_count: number
      per_hour_micros: string
      metered_seconds: string
      gpu_seconds: string
      cost_micros: string
    }>(
      `SELECT gpu_count, per_hour_micros, metered_seconds,
         coalesce(sum(gpu_seconds), 0) AS gpu_seconds, coalesce(sum(used.cost_micros), 0) AS cost_micros
       FROM meters LEFT JOIN usage_records AS used ON used.allocation_id = meters.allocation_id
         AND window_start >= started_at AND window_start < coalesce((SELECT min(later.started_at)
           FROM meters AS later WHERE later.allocation_id = meters.allocation_id
             AND later.run > meters.run), 'infinity')
       GROUP BY meters.allocation_id, run`,
    )
    for (const meter of meters) {
      const gpuSeconds = BigInt(meter.metered_seconds) * BigInt(meter.gpu_count)
      expect(BigInt(meter.gpu_seconds)).toBe(gpuSeconds)
      expect(BigInt(meter.cost_micros)).toBe(priceOf(gpuSeconds, BigInt(meter.per_hour_micros)))
    }
  } finally {
    await admin.end()
  }
}
