import type { Sql } from './database.ts'
import { type Aad, EnvelopeError, type KekProvider, type SecretEnvelope } from './envelope.ts'

/** A column of envelopes. Names and statements are code, never input. */
export type SealedColumn = {
  readonly table: string
  readonly column: string
  /** Of the primary key. */
  readonly key: { readonly column: string; readonly type: 'uuid' | 'text' | 'smallint' }
  /** The column that names the row's organization, where there is one. */
  readonly organization?: string
  /** Where the row's secret was sealed for; ids are as the database has them. */
  place(row: { readonly key: string; readonly organizationId: string | null }): Aad
  /**
   * Where the service may not update the column itself: a statement that puts $3 in the place of $2
   * in the row $1, and gives a row if it did.
   */
  readonly replace?: string
}

export type Rewrapped = {
  /** `<table>.<column>` */
  readonly column: string
  readonly rewrapped: number
  /** Changed by somebody else meanwhile, and left to them. */
  readonly missed: number
  /** Keys of rows whose envelope does not open here: nothing was done to them. */
  readonly refused: readonly string[]
}

export type SealedCount = {
  readonly column: string
  readonly kekId: string
  readonly count: number
}

const BATCH = 200
/** A row is missed when it changes just then: not twice by chance, and hardly ever more often. */
const PASSES = 5

/**
 * Wraps the data keys of all that stands in these columns by the current key-encryption key, while
 * others use them. Each row by itself, and only if it is as it was read: it may be cut off anywhere,
 * run again, and run twice at once.
 *
 * @param onBatch is told how many rows of a column have been looked at
 */
export async function rewrapAll({
  sql,
  envelope,
  kek,
  columns,
  onBatch,
}: {
  sql: Sql
  envelope: Pick<SecretEnvelope, 'rewrap'>
  kek: Pick<KekProvider, 'currentId'>
  columns: readonly SealedColumn[]
  onBatch?: (column: string, seen: number) => void
}): Promise<Rewrapped[]> {
  const all: Rewrapped[] = []
  for (const column of columns) {
    let rewrapped = 0
    let pass = await walk(column)
    rewrapped += pass.rewrapped
    for (let n = 1; n < PASSES && pass.missed > 0; n++) {
      pass = await walk(column)
      rewrapped += pass.rewrapped
    }
    all.push({ ...pass, rewrapped })
  }
  return all

  async function walk(of: SealedColumn): Promise<Rewrapped> {
    const column = nameOf(of)
    const kekId = await kek.currentId()
    const refused: string[] = []
    let [rewrapped, missed, seen] = [0, 0, 0]
    let after: string | null = null
    for (;;) {
      const rows: SealedRow[] = await othersThan(sql, of, kekId, after)
      for (const row of rows) {
        const sealed = await rewrap(of, row)
        if (sealed === null) refused.push(row.key)
        else if (await replace(sql, of, row, sealed)) rewrapped += 1
        else missed += 1
      }
      seen += rows.length
      onBatch?.(column, seen)
      if (rows.length < BATCH) return { column, rewrapped, missed, refused }
      after = rows.at(-1)?.key ?? null
    }
  }

  /** Null for what does not open. */
  async function rewrap(of: SealedColumn, row: SealedRow): Promise<string | null> {
    try {
      return await envelope.rewrap(row.sealed, of.place(row))
    } catch (error) {
      if (error instanceof EnvelopeError) return null
      throw error
    }
  }
}

/** How many envelopes there are under each key-encryption key. */
export async function countSealed(
  sql: Sql,
  columns: readonly SealedColumn[],
): Promise<SealedCount[]> {
  const counts: SealedCount[] = []
  for (const of of columns) {
    const rows = await sql.query<{ kek_id: string; count: number }>(
      `SELECT split_part(${of.column}, '.', 2) AS kek_id, count(*)::int AS count
       FROM ${of.table} WHERE ${of.column} IS NOT NULL GROUP BY 1 ORDER BY 1`,
    )
    counts.push(...rows.map(({ kek_id: kekId, count }) => ({ column: nameOf(of), kekId, count })))
  }
  return counts
}

type SealedRow = {
  readonly key: string
  readonly organizationId: string | null
  readonly sealed: string
}

/** A batch of what is not under this key, in the order of the primary key. */
async function othersThan(
  sql: Sql,
  { table, column, key, organization }: SealedColumn,
  kekId: string,
  after: string | null,
): Promise<SealedRow[]> {
  return sql.query<SealedRow>(
    `SELECT ${key.column}::text AS key, ${organization ?? 'NULL'}::text AS "organizationId",
       ${column} AS sealed
     FROM ${table}
     WHERE ${column} IS NOT NULL AND split_part(${column}, '.', 2) <> $1
       AND ($2::${key.type} IS NULL OR ${key.column} > $2::${key.type})
     ORDER BY ${key.column} LIMIT ${BATCH}`,
    [kekId, after],
  )
}

async function replace(
  sql: Sql,
  of: SealedColumn,
  { key, sealed }: SealedRow,
  by: string,
): Promise<boolean> {
  const statement =
    of.replace ??
    `UPDATE ${of.table} SET ${of.column} = $3
     WHERE ${of.key.column} = $1::${of.key.type} AND ${of.column} = $2 RETURNING 1`
  return (await sql.query(statement, [key, sealed, by])).length === 1
}

function nameOf({ table, column }: SealedColumn): string {
  return `${table}.${column}`
}
