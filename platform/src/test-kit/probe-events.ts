import { z } from 'zod'
import { event } from '../contract.ts'
import type { SqlDatabase } from '../database.ts'
import { newUuid } from '../ids.ts'
import { appendEvent } from '../outbox.ts'
import type { Sql } from '../sql.ts'

/** An event for tests of what carries events. */
export const Probed = event({
  domain: 'inventory',
  aggregate: 'probe',
  verb: 'counted',
  version: 1,
  data: z.strictObject({ n: z.int() }),
})

/** Appends events of one aggregate, counted from 1. */
export function probe(organizationId: string | null = null, aggregateId = newUuid()) {
  let n = 0
  return {
    aggregateId,
    append(sql: Sql): Promise<string> {
      n += 1
      return appendEvent(sql, Probed, { aggregateId, aggregateSeq: n, organizationId, data: { n } })
    },
    /** So many in one transaction. @returns their ids */
    appendMany(database: SqlDatabase, count: number): Promise<string[]> {
      return database.sqlTransaction(async (sql) => {
        const ids: string[] = []
        for (let i = 0; i < count; i += 1) ids.push(await this.append(sql))
        return ids
      })
    },
  }
}
