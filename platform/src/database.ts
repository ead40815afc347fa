import { setTimeout as sleep } from 'node:timers/promises'
import type { SqlDriverAdapterFactory } from '@prisma/driver-adapter-utils'
import pg from 'pg'
import { createPrismaAdapter } from './prisma-adapter.ts'
import { commit, connectionConfig, type PoolOptions, type Sql, sqlOf, sqlState } from './sql.ts'

export { type Sql, sqlState } from './sql.ts'

/** A generated Prisma client, as far as this module needs to know it. */
export type PrismaLike = { readonly $transaction: unknown; $disconnect(): Promise<void> }

/** A Prisma client inside an interactive transaction. */
export type PrismaWithin<P> = Omit<
  P,
  '$connect' | '$disconnect' | '$on' | '$use' | '$extends' | '$transaction'
>

/** Prisma and raw SQL on one connection, in one transaction. */
export type Tx<P> = { readonly prisma: PrismaWithin<P>; readonly sql: Sql }

/** A domain's database for those who speak SQL only. */
export type SqlDatabase = {
  readonly url: string
  readonly schema: string
  /** Statements outside a transaction, each on any connection. */
  readonly sql: Sql
  /**
   * One READ COMMITTED transaction on a bare connection: twice as fast as through Prisma. Run
   * again, up to 5 times, when Postgres undid it for a deadlock or a serialization failure: what
   * `fn` does outside the database must bear repetition.
   */
  sqlTransaction<T>(fn: (sql: Sql) => Promise<T>): Promise<T>
  /** @throws when Postgres does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export type Database<P extends PrismaLike = PrismaLike> = SqlDatabase & {
  readonly prisma: P
  readonly pool: pg.Pool
  /** The same through Prisma, which ends it after 15 s. */
  transaction<T>(fn: (tx: Tx<P>) => Promise<T>): Promise<T>
}

/**
 * A domain's database: one pool, shared by Prisma and by raw SQL. Connects on first use.
 *
 * @param client makes the domain's generated client: `(adapter) => new PrismaClient({ adapter })`
 */
export function openDatabase<P extends PrismaLike>({
  client,
  poolSize = 10,
  ...options
}: Omit<PoolOptions, 'size'> & {
  poolSize?: number
  client: (adapter: SqlDriverAdapterFactory) => P
}): Database<P> {
  const { url, schema } = options
  const pool = new pg.Pool({ ...connectionConfig(options), max: poolSize })
  // An idle connection that dies is replaced by the pool; unhandled it would end the process.
  pool.on('error', () => undefined)
  const { adapter, capture } = createPrismaAdapter(pool, schema)
  const prisma = client(adapter)

  return {
    prisma,
    pool,
    schema,
    url,
    sql: sqlOf(pool),
    transaction: (fn) =>
      retried(() =>
        capture((sqlOfIt) =>
          interactive(prisma, (within) => fn({ prisma: within, sql: sqlOfIt() })),
        ),
      ),
    sqlTransaction: (fn) => retried(() => transact(pool, fn)),
    async ping() {
      await pool.query('SELECT 1')
    },
    async close() {
      await prisma.$disconnect()
      await pool.end()
    },
  }
}

function interactive<P extends PrismaLike, T>(
  prisma: P,
  fn: (within: PrismaWithin<P>) => Promise<T>,
): Promise<T> {
  const { $transaction } = prisma as { $transaction: unknown } as {
    $transaction(run: typeof fn, options: { maxWait: number; timeout: number }): Promise<T>
  }
  return $transaction.call(prisma, fn, { maxWait: 5_000, timeout: 15_000 })
}

async function transact<T>(pool: pg.Pool, fn: (sql: Sql) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  const onError = (error: Error) => {
    broken = error
  }
  client.on('error', onError)
  try {
    await client.query('BEGIN')
    const result = await fn(sqlOf(client))
    await commit(client)
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(onError)
    throw error
  } finally {
    client.off('error', onError)
    client.release(broken)
  }
}

const ATTEMPTS = 5
const UNDONE_BY_POSTGRES = new Set(['40001', '40P01'])

async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let n = 1; ; n += 1) {
    try {
      return await attempt()
    } catch (error) {
      if (n === ATTEMPTS || !UNDONE_BY_POSTGRES.has(sqlState(error) ?? '')) throw error
      await sleep(Math.random() * 10 * 2 ** n)
    }
  }
}
