import type { Database } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { PrismaClient } from '@berth/prisma/allocations'

/** What the records say of nodes, for the reconciliation. */
export type NodeStore = {
  /** Nodes that allocations are on, or were on when they ended after `since`. */
  used(since: Date): Promise<Id<'nod'>[]>
  /**
   * Of these allocations, those that are known and have no business on the node: they ended, or are
   * on another one, and no worker is about to take them away. What no record knows may be younger
   * than a restored backup, and is nobody's to end.
   */
  strays(nodeId: Id<'nod'>, ids: readonly Id<'alc'>[]): Promise<Set<Id<'alc'>>>
  /** Does the work unless another replica is at it. @returns whether it was done */
  alone(work: () => Promise<void>): Promise<boolean>
}

export function createNodeStore({
  sql,
  pool,
}: Pick<Database<PrismaClient>, 'sql' | 'pool'>): NodeStore {
  return {
    async used(since) {
      const rows = await sql.query<{ id: string }>(
        `SELECT DISTINCT node_id AS id FROM allocations
         WHERE node_id IS NOT NULL AND (ended_at IS NULL OR ended_at > $1::timestamptz)`,
        [since],
      )
      return rows.map(({ id }) => uuidToId('nod', id))
    },

    async strays(nodeId, ids) {
      const rows = await sql.query<{ id: string }>(
        `SELECT id FROM allocations WHERE id = ANY ($2::uuid[])
           AND (node_id IS DISTINCT FROM $1::uuid OR state IN ('RELEASED', 'FAILED'))
           AND NOT is_cleanup_pending`,
        [idToUuid(nodeId), ids.map(idToUuid)],
      )
      return new Set(rows.map(({ id }) => uuidToId('alc', id)))
    },

    async alone(work) {
      // Of the session, not of a transaction, which would be idle for as long as nodes take to answer.
      const client = await pool.connect()
      let broken = false
      const onError = () => {
        broken = true
      }
      // Unhandled it would end the process.
      client.on('error', onError)
      try {
        const { rows } = await client.query<{ is_mine: boolean }>(
          `SELECT pg_try_advisory_lock(${LOCK}) AS is_mine`,
        )
        if (rows[0]?.is_mine !== true) return false
        await work()
        await client.query(`SELECT pg_advisory_unlock(${LOCK})`).catch(onError)
        return true
      } catch (error) {
        broken = true
        throw error
      } finally {
        client.off('error', onError)
        // A connection that may hold the lock still is closed, which gives it back.
        client.release(broken)
      }
    },
  }
}

const LOCK = `hashtextextended('reconcile ' || current_schema(), 0)`
