import type { Sql } from '@berth/platform/database'
import type { Micros } from '@berth/platform/money'
import type { Cause } from '../domain/causes.ts'

export type LedgerKind = 'CREDIT' | 'USAGE' | 'REVERSAL'

export type Posting = {
  readonly cause: Cause
  readonly kind: LedgerKind
  readonly organizationId: string
  /** Moved from one account to the other, > 0. */
  readonly amountMicros: Micros
  readonly fromAccount: string
  readonly toAccount: string
  readonly postedAt: Date
  readonly reversesId?: string
}

/**
 * Posts a transaction of two entries through the one function that may write them. Keeps the
 * organization's account row locked until the transaction ends.
 *
 * @returns false when the same one was posted before
 */
export async function post(sql: Sql, posting: Posting): Promise<boolean> {
  const { cause, kind, organizationId, amountMicros, fromAccount, toAccount } = posting
  const [row] = await sql.query<{ isNew: boolean }>(
    `SELECT post_transaction($1::uuid, $2::timestamptz, $3, $4, $5::uuid, $6::uuid[], $7::bigint[],
       $8::timestamptz, $9::uuid) AS "isNew"`,
    [
      cause.id,
      cause.at,
      kind,
      cause.text,
      organizationId,
      [fromAccount, toAccount],
      [-amountMicros, amountMicros].map(String),
      posting.postedAt,
      posting.reversesId ?? null,
    ],
  )
  return row?.isNew === true
}

export type LedgerEntryRow = {
  readonly id: string
  readonly transactionId: string
  readonly kind: LedgerKind
  readonly amountMicros: Micros
  readonly currency: string
  readonly postedAt: Date
}

const SELECT = `SELECT entry.id, entry.transaction_id AS "transactionId", transaction.kind,
    entry.amount_micros AS "amountMicros", entry.currency, entry.posted_at AS "postedAt"
  FROM ledger_entries AS entry
  JOIN ledger_transactions AS transaction
    ON transaction.id = entry.transaction_id AND transaction.at = entry.at`

/** Newest first, after this entry's id. */
export async function listEntries(
  sql: Sql,
  organizationId: string,
  page: { take: number; after: string | null },
): Promise<LedgerEntryRow[]> {
  return sql.query<LedgerEntryRow>(
    `${SELECT} WHERE entry.organization_id = $1::uuid AND ($2::uuid IS NULL OR entry.id < $2::uuid)
     ORDER BY entry.id DESC LIMIT $3::int`,
    [organizationId, page.after, page.take],
  )
}

export async function entriesById(
  sql: Sql,
  organizationId: string,
  ids: readonly string[],
): Promise<LedgerEntryRow[]> {
  return sql.query<LedgerEntryRow>(
    `${SELECT} WHERE entry.organization_id = $1::uuid AND entry.id = ANY ($2::uuid[])`,
    [organizationId, ids],
  )
}

export async function isPosted(sql: Sql, cause: Cause): Promise<boolean> {
  const rows = await sql.query(
    'SELECT FROM ledger_transactions WHERE id = $1::uuid AND at = $2::timestamptz',
    [cause.id, cause.at],
  )
  return rows.length > 0
}
