import { AsyncLocalStorage } from 'node:async_hooks'
import { PrismaPg } from '@prisma/adapter-pg'
import type {
  SqlDriverAdapter,
  SqlDriverAdapterFactory,
  Transaction,
} from '@prisma/driver-adapter-utils'
import type pg from 'pg'
import { commit, type Sql, sqlOf } from './sql.ts'

/**
 * Prisma over our own pool, with a way to run raw SQL inside one of its interactive transactions
 * on the same connection, without what `$queryRawUnsafe` does to values (numeric becomes an
 * object, void fails) and to errors.
 */
export function createPrismaAdapter(pool: pg.Pool, schema: string) {
  const factory = new PrismaPg(pool, { schema })
  const opening = new AsyncLocalStorage<{ sql?: Sql }>()

  const adapter: SqlDriverAdapterFactory = {
    provider: factory.provider,
    adapterName: factory.adapterName,
    async connect(): Promise<SqlDriverAdapter> {
      const connected = await factory.connect()
      const start = connected.startTransaction.bind(connected)
      connected.startTransaction = async (isolationLevel) => {
        const transaction = await start(isolationLevel)
        const slot = opening.getStore()
        if (slot) slot.sql = sqlWithin(transaction)
        return transaction
      }
      return connected
    },
  }
  return {
    adapter,
    /**
     * Runs what opens one interactive transaction; `sqlOfIt()` gives that transaction's SQL once
     * it is open.
     */
    capture<T>(open: (sqlOfIt: () => Sql) => Promise<T>): Promise<T> {
      const slot: { sql?: Sql } = {}
      return opening.run(slot, () =>
        open(() => {
          if (!slot.sql) throw new Error('Prisma opened no transaction in this context')
          return slot.sql
        }),
      )
    },
  }
}

/**
 * Prisma ends a transaction that takes too long while its function still runs. Its connection then
 * belongs to someone else, so that from COMMIT or ROLLBACK on nothing more may pass.
 */
function sqlWithin(transaction: Transaction): Sql {
  const { client } = transaction as unknown as { client: pg.PoolClient }
  const sql = sqlOf(client)
  const execute = transaction.executeRaw.bind(transaction)
  let isOver = false
  transaction.executeRaw = async (query) => {
    if (query.sql === 'COMMIT' || query.sql === 'ROLLBACK') isOver = true
    if (query.sql !== 'COMMIT') return execute(query)
    await commit(client)
    return 0
  }
  return {
    async query(text, values) {
      if (isOver) throw new Error('the transaction is over')
      return sql.query(text, values)
    },
  }
}
