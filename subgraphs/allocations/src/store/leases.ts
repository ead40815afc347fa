import { randomUUID } from 'node:crypto'
import type { Database, PrismaLike } from '@berth/platform/database'
import { type Id, idToUuid } from '@berth/platform/ids'
import { deadlineOf } from '../domain/machine.ts'
import type { Allocation } from '../model.ts'
import { type Change, retireSlots, writeChange } from './change.ts'
import { readLocked } from './rows.ts'

/** How long a worker that died holds up what it had claimed. One that lives renews in time. */
export const LEASE_SECONDS = 15

/** The right to move one allocation on from the state it was claimed in. */
export type Lease = { readonly allocation: Allocation; readonly token: string }

export type Leases = {
  /** Claims allocations that are due, oldest first, passing by those that others hold. */
  claim(now: Date, limit: number): Promise<Lease[]>
  /** Holds the lease for longer. @returns false when it is stale */
  renew(lease: Lease, now: Date): Promise<boolean>
  /**
   * Compare-and-set on token and state.
   *
   * @returns null when the lease is stale, and then nothing was changed
   */
  commit(lease: Lease, change: Change, now: Date): Promise<Allocation | null>
  /** The clean-up is done: what it held is given back. Returns as `commit`. */
  settle(lease: Lease): Promise<true | null>
  /**
   * Gives the lease back, to be tried again at `nextAttemptAt` if the allocation has not moved on.
   *
   * @returns false when it is stale
   */
  postpone(lease: Lease, nextAttemptAt: Date): Promise<boolean>
  /** Ends what has been in a state for longer than it may, whoever holds its lease. */
  reap(now: Date, limit: number): Promise<Allocation[]>
  /** Whether the allocation has ended, so that nothing of it may stay on a node. */
  hasEnded(id: Id<'alc'>): Promise<boolean>
}

export function createLeases(
  database: Pick<Database<PrismaLike>, 'sql' | 'sqlTransaction'>,
): Leases {
  return {
    claim: (now, limit) =>
      database.sqlTransaction(async (sql) => {
        const token = randomUUID()
        const allocations = await readLocked(
          sql,
          `UPDATE allocations SET lease_token = $2::uuid, attempts = attempts + 1,
             lease_until = $1::timestamptz + make_interval(secs => $3)
           WHERE id IN (
             SELECT id FROM allocations
             WHERE next_attempt_at <= $1::timestamptz AND (lease_until IS NULL OR lease_until <= $1::timestamptz)
             ORDER BY next_attempt_at LIMIT $4 FOR UPDATE SKIP LOCKED)
           RETURNING id`,
          [now, token, LEASE_SECONDS, limit],
        )
        return allocations.map((allocation) => ({ allocation, token }))
      }),

    async renew({ allocation, token }, now) {
      const renewed = await database.sql.query(
        `UPDATE allocations SET lease_until = $3::timestamptz + make_interval(secs => $4)
         WHERE id = $1::uuid AND lease_token = $2::uuid RETURNING id`,
        [idToUuid(allocation.id), token, now, LEASE_SECONDS],
      )
      return renewed.length > 0
    },

    commit: ({ allocation, token }, change, now) =>
      database.sqlTransaction(async (sql) => {
        const [current] = await readLocked(
          sql,
          `SELECT id FROM allocations
           WHERE id = $1::uuid AND lease_token = $2::uuid AND state = $3 FOR UPDATE`,
          [idToUuid(allocation.id), token, allocation.state],
        )
        return current ? writeChange(sql, current, change, { now, endsLease: true }) : null
      }),

    settle: (lease) =>
      database.sqlTransaction(async (sql) => {
        const settled = await sql.query(
          `UPDATE allocations SET is_cleanup_pending = false, is_node_touched = false, next_attempt_at = NULL,
             attempts = 0, lease_token = NULL, lease_until = NULL
           WHERE id = $1::uuid AND lease_token = $2::uuid AND state = $3 AND is_cleanup_pending RETURNING id`,
          [idToUuid(lease.allocation.id), lease.token, lease.allocation.state],
        )
        if (settled.length === 0) return null
        await retireSlots(sql, lease.allocation)
        return true
      }),

    async postpone({ allocation, token }, nextAttemptAt) {
      const given = await database.sql.query(
        `UPDATE allocations SET lease_token = NULL, lease_until = NULL,
           next_attempt_at = CASE WHEN state = $3 THEN $4::timestamptz ELSE next_attempt_at END
         WHERE id = $1::uuid AND lease_token = $2::uuid RETURNING id`,
        [idToUuid(allocation.id), token, allocation.state, nextAttemptAt],
      )
      return given.length > 0
    },

    reap: (now, limit) =>
      database.sqlTransaction(async (sql) => {
        const overdue = await readLocked(
          sql,
          `SELECT id FROM allocations WHERE state_deadline_at <= $1::timestamptz
           ORDER BY state_deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED`,
          [now, limit],
        )
        const reaped: Allocation[] = []
        for (const allocation of overdue) {
          const deadline = deadlineOf(allocation.state)
          if (!deadline) throw new Error(`${allocation.state} has no deadline`)
          const { trigger, reason } = deadline
          const change = reason ? { trigger, reason } : { trigger }
          reaped.push(await writeChange(sql, allocation, change, { now, endsLease: false }))
        }
        return reaped
      }),

    async hasEnded(id) {
      const rows = await database.sql.query(
        'SELECT FROM allocations WHERE id = $1::uuid AND ended_at IS NOT NULL',
        [idToUuid(id)],
      )
      return rows.length > 0
    },
  }
}
