import type { Clock } from '@berth/platform/clock'
import { type SqlDatabase, sqlState } from '@berth/platform/database'
import { type Retention, retentionDays } from '../domain/notification.ts'
import { deleteBefore, dropEmptyMonths, usersBefore } from '../store/purge.ts'

const DAY_MS = 86_400_000
const BATCH_USERS = 200
const LOCK_NOT_AVAILABLE = '55P03'

/**
 * Removes the months that are over the retention of their class. Each person's inbox remembers how
 * far it was purged in the transaction that purges it, so that no reader skips what it missed.
 *
 * @returns how many months were dropped; one that is in use is dropped another time
 */
export async function purge(database: SqlDatabase, clock: Clock): Promise<number> {
  let dropped = 0
  for (const retention of Object.keys(retentionDays) as Retention[]) {
    const before = monthsKeptFrom(clock.now(), retentionDays[retention])
    for (;;) {
      const users = await usersBefore(database.sql, retention, before, BATCH_USERS)
      if (users.length === 0) break
      await database.sqlTransaction((sql) => deleteBefore(sql, retention, before, users))
    }
    dropped += await dropEmptyMonths(database.sql, retention, before).catch((error: unknown) => {
      if (sqlState(error) === LOCK_NOT_AVAILABLE) return 0
      throw error
    })
  }
  return dropped
}

/** The start of the first month of which anything is still kept. */
function monthsKeptFrom(now: Date, days: number): Date {
  const oldest = new Date(now.getTime() - days * DAY_MS)
  return new Date(Date.UTC(oldest.getUTCFullYear(), oldest.getUTCMonth()))
}
