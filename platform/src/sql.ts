import pg from 'pg'

/**
 * Statements on a connection, a transaction or a pool: the same values come back whichever it is.
 *
 * int8 is a bigint, numeric its exact text, timestamptz and date a Date in UTC, json an object,
 * bytea a Buffer. Give JSON as text with a cast (`$1::jsonb`), and cast wherever Postgres would
 * have to guess (`$2::uuid`, `$3::text[]`).
 */
export type Sql = {
  query<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<Row[]>
}

export type PoolOptions = {
  url: string
  /** Put first in the search path, and in Prisma's queries. */
  schema: string
  /** Connections at most. */
  size?: number
  /** Shown in pg_stat_activity. */
  name?: string
}

/** Statements and idle transactions that outlive these are ended by the server. */
const STATEMENT_SECONDS = 30
const IDLE_TRANSACTION_SECONDS = 60

/** What a pool or a lone client connects with. */
export function connectionConfig({ url, schema, name = schema }: PoolOptions): pg.ClientConfig {
  return {
    connectionString: url,
    application_name: name,
    // Under another time zone Prisma writes times hours off, silently.
    options: [
      `search_path=${schema}`,
      'TimeZone=UTC',
      `statement_timeout=${STATEMENT_SECONDS}s`,
      `idle_in_transaction_session_timeout=${IDLE_TRANSACTION_SECONDS}s`,
    ]
      .map((setting) => `-c ${setting}`)
      .join(' '),
    types,
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
  }
}

/**
 * @throws when the transaction had failed before: Postgres then answers COMMIT with ROLLBACK, and
 *   without an error, so that whoever swallowed a statement's error would believe it was kept.
 */
export async function commit(client: pg.ClientBase): Promise<void> {
  const { command } = await client.query('COMMIT')
  if (command !== 'COMMIT') {
    throw new Error('the transaction was rolled back, because the error of a statement was ignored')
  }
}

export function sqlOf(client: Pick<pg.Pool | pg.ClientBase, 'query'>): Sql {
  return {
    async query<Row extends object>(text: string, values: readonly unknown[] = []) {
      const { rows } = await client.query<Row>(text, [...values])
      return rows
    },
  }
}

/**
 * The SQLSTATE of a failed statement, through Prisma or not: `23505` is a unique violation.
 *
 * @returns undefined when the error did not come from Postgres
 */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, meta } = error as { code?: unknown; meta?: PrismaMeta }
  const original = meta?.driverAdapterError?.cause?.originalCode
  if (typeof original === 'string') return original
  if (typeof code !== 'string') return undefined
  return (
    PRISMA_STATES[code] ?? (/^[0-9A-Z]{5}$/.test(code) && !code.startsWith('P2') ? code : undefined)
  )
}

type PrismaMeta = { driverAdapterError?: { cause?: { originalCode?: unknown } } }

const PRISMA_STATES: Record<string, string> = { P2002: '23505', P2003: '23503', P2034: '40001' }

const { INT8, NUMERIC, DATE } = pg.types.builtins
const TEXT_ARRAY = 1009
const INT8_ARRAY = 1016
const NUMERIC_ARRAY = 1231
const textArray = pg.types.getTypeParser(TEXT_ARRAY as never) as (text: string) => (string | null)[]

const parsers: Record<number, (text: string) => unknown> = {
  [INT8]: BigInt,
  [NUMERIC]: String,
  [DATE]: (text) => new Date(`${text}T00:00:00Z`),
  [INT8_ARRAY]: (text) => textArray(text).map((it) => (it === null ? null : BigInt(it))),
  [NUMERIC_ARRAY]: textArray,
}

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    (format !== 'binary' && parsers[oid]) ||
    pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
}
