import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { fault } from '@berth/platform/fault-points'
import { formatAmount } from '@berth/platform/money'
import type { Run } from '../domain/causes.ts'
import { type CoverSeconds, fullCover } from '../domain/cover.ts'
import { clearDepleted, lockAccount, readAccount } from '../store/accounts.ts'
import {
  endHold,
  expireHold,
  type Hold,
  insertHold,
  insertVoided,
  lapsedHolds,
  readHold,
} from '../store/holds.ts'
import { hasMeter } from '../store/meters.ts'
import { pricesAt } from '../store/prices.ts'

export type HoldsDeps = {
  database: Pick<Database, 'sql' | 'sqlTransaction'>
  clock: Clock
  currency: string
  cover: CoverSeconds
  /** After which a hold lapses whose allocation never ran. */
  lapseSeconds: number
}

/** What is asked for. Ids are uuids. */
export type PlaceHold = Run & {
  organizationId: string
  gpuModel: string
  gpuCount: number
}

export type Holds = {
  /**
   * Sets credit aside, under the account's lock: of many that are placed at once, those that credit
   * does not cover fail. The same run gets the same hold again.
   *
   * @throws {DomainError} INSUFFICIENT_CREDIT; CONFLICT when the run's hold is over, or is
   *   for something else; BAD_INPUT when the GPU model has no price
   */
  place(input: PlaceHold): Promise<{ holdId: string }>
  /**
   * Gives a hold back whose run never began, and keeps a late placing out.
   *
   * @returns whether it is void now
   * @throws {DomainError} NOT_FOUND when it is another organization's
   */
  void(organizationId: string, run: Run): Promise<boolean>
  /** Ends holds whose time is over. @returns how many */
  expire(): Promise<number>
}

export function createHolds(deps: HoldsDeps): Holds {
  const { database, clock } = deps
  return {
    place: (input) => database.sqlTransaction((sql) => place(sql, deps, input)),
    void: (organizationId, run) =>
      database.sqlTransaction((sql) => voidHold(sql, organizationId, run, clock.now())),
    async expire() {
      let ended = 0
      for (const hold of await lapsedHolds(database.sql, clock.now(), 1_000)) {
        if (await database.sqlTransaction((sql) => expire(sql, hold, clock.now()))) ended += 1
      }
      return ended
    },
  }
}

async function place(sql: Sql, deps: HoldsDeps, input: PlaceHold): Promise<{ holdId: string }> {
  const { clock, currency, cover, lapseSeconds } = deps
  const { allocationId, run, organizationId, gpuModel, gpuCount } = input
  const known = await readAccount(sql, organizationId, currency)
  const account = known && (await lockAccount(sql, known.id))
  const earlier = await readHold(sql, input)
  if (earlier) return { holdId: sameHold(earlier, input).id }

  const now = clock.now()
  const price = (await pricesAt(sql, [gpuModel], currency, now)).get(gpuModel)
  if (!price) {
    throw new DomainError('BAD_INPUT', `The GPU model ${gpuModel} has no price: choose another`)
  }
  const { perHourMicros } = price
  const amountMicros = fullCover({ gpuCount, perHourMicros }, cover)
  if (!account || account.postedMicros - account.heldMicros < amountMicros) {
    throw new DomainError(
      'INSUFFICIENT_CREDIT',
      `This needs ${formatAmount(amountMicros)} ${currency} of available credit: add credit`,
    )
  }
  const placed = await insertHold(sql, {
    allocationId,
    run,
    organizationId,
    accountId: account.id,
    amountMicros,
    gpuModelCode: gpuModel,
    gpuCount,
    perHourMicros,
    placedAt: now,
    expiresAt: new Date(now.getTime() + lapseSeconds * 1_000),
  })
  if (!placed) throw isOver()
  await fault('billing.hold.placed')
  // Credit covers something again: its end is told anew.
  if (account.depletedAt) await clearDepleted(sql, account.id)
  const hold = await readHold(sql, input)
  return { holdId: hold!.id }
}

function sameHold(hold: Hold, input: PlaceHold): Hold {
  if (hold.organizationId !== input.organizationId || hold.state !== 'PLACED') throw isOver()
  if (hold.gpuModelCode !== input.gpuModel || hold.gpuCount !== input.gpuCount) {
    throw new DomainError('CONFLICT', 'This allocation has a hold for other GPUs: use a new one')
  }
  return hold
}

function isOver(): DomainError {
  return new DomainError('CONFLICT', 'This allocation has ended: create another')
}

/** In the caller's transaction; see `Holds.void`. */
export async function voidHold(
  sql: Sql,
  organizationId: string,
  run: Run,
  now: Date,
): Promise<boolean> {
  await insertVoided(sql, organizationId, run, now)
  const hold = await readHold(sql, run)
  if (hold?.organizationId !== organizationId) {
    throw new DomainError('NOT_FOUND', 'This organization has no such hold')
  }
  if (hold.state !== 'PLACED' || hold.accountId === null) return hold.state === 'VOIDED'
  await lockAccount(sql, hold.accountId)
  // What has run is settled at its end, whoever asks for what.
  if (!(await hasMeter(sql, run))) await endHold(sql, run, 'VOIDED', now)
  return (await readHold(sql, run))?.state === 'VOIDED'
}

async function expire(sql: Sql, hold: Hold, now: Date): Promise<boolean> {
  if (hold.accountId === null) return false
  await lockAccount(sql, hold.accountId)
  return expireHold(sql, hold.id, now)
}
