import type { Sql } from '@berth/platform/database'
import { newUuid } from '@berth/platform/ids'
import type { Micros } from '@berth/platform/money'

/** An organization's prepaid credit, in one currency. */
export type CreditAccount = {
  readonly id: string
  readonly organizationId: string
  readonly currency: string
  readonly postedMicros: Micros
  readonly heldMicros: Micros
  /** Since when what runs is being stopped for want of credit. */
  readonly depletedAt: Date | null
  readonly eventSeq: bigint
}

const COLUMNS = `id, organization_id AS "organizationId", currency, posted_micros AS "postedMicros",
  held_micros AS "heldMicros", depleted_at AS "depletedAt", event_seq AS "eventSeq"`

/** @returns the id of the organization's account, opened if need be */
export async function openAccount(
  sql: Sql,
  organizationId: string,
  currency: string,
  now: Date,
): Promise<string> {
  await sql.query(
    `INSERT INTO ledger_accounts (id, organization_id, kind, currency, created_at)
     VALUES ($1::uuid, $2::uuid, 'CREDIT', $3, $4::timestamptz) ON CONFLICT DO NOTHING`,
    [newUuid(), organizationId, currency, now],
  )
  const account = await readAccount(sql, organizationId, currency)
  if (!account) throw new Error('an account that was just opened is not there')
  return account.id
}

export async function readAccount(
  sql: Sql,
  organizationId: string,
  currency: string,
): Promise<CreditAccount | null> {
  const [account] = await sql.query<CreditAccount>(
    `SELECT ${COLUMNS} FROM ledger_accounts
     WHERE organization_id = $1::uuid AND kind = 'CREDIT' AND currency = $2`,
    [organizationId, currency],
  )
  return account ?? null
}

/**
 * Locks the account until the transaction ends. Everything that moves an organization's money holds
 * it; locks are taken in the order meter, account, hold.
 */
export async function lockAccount(sql: Sql, id: string): Promise<CreditAccount> {
  const [account] = await sql.query<CreditAccount>(
    `SELECT ${COLUMNS} FROM ledger_accounts WHERE id = $1::uuid FOR NO KEY UPDATE`,
    [id],
  )
  if (!account) throw new Error(`there is no ledger account ${id}`)
  return account
}

/** One of the house's own accounts. */
export async function houseAccount(
  sql: Sql,
  kind: 'REVENUE' | 'PROMOTION',
  currency: string,
): Promise<string> {
  const [account] = await sql.query<{ id: string }>(
    `SELECT id FROM ledger_accounts
     WHERE organization_id IS NULL AND kind = $1 AND currency = $2`,
    [kind, currency],
  )
  if (!account) throw new Error(`there is no house account ${kind} in ${currency}`)
  return account.id
}

/** @returns the account's next `aggregateSeq`; its row must be locked */
export async function markDepleted(sql: Sql, id: string, at: Date): Promise<bigint> {
  const [row] = await sql.query<{ eventSeq: bigint }>(
    `UPDATE ledger_accounts SET depleted_at = $2::timestamptz, event_seq = event_seq + 1
     WHERE id = $1::uuid RETURNING event_seq AS "eventSeq"`,
    [id, at],
  )
  if (!row) throw new Error(`there is no ledger account ${id}`)
  return row.eventSeq
}

export async function clearDepleted(sql: Sql, id: string): Promise<void> {
  await sql.query(
    'UPDATE ledger_accounts SET depleted_at = NULL WHERE id = $1::uuid AND depleted_at IS NOT NULL',
    [id],
  )
}
