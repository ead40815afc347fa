import { deriveUuid, newUuid } from '@berth/platform/ids'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Cause } from '../domain/causes.ts'
import { checkBooks, type Fixture, openFixture } from '../test-fixture.ts'
import { houseAccount, readAccount } from './accounts.ts'
import { type Posting, post } from './ledger.ts'

let it: Fixture
let house: string
beforeAll(async () => {
  it = await openFixture()
  house = await houseAccount(it.sql, 'PROMOTION', 'USD')
})
afterAll(async () => {
  await checkBooks(it.kit.adminUrl)
  await it[Symbol.asyncDispose]()
})

const at = new Date('2026-11-10T12:00:00.250Z')

function causeOf(text: string, when = at): Cause {
  return { id: deriveUuid(when, text), at: when, text }
}

async function posting(given: Partial<Posting> = {}): Promise<Posting> {
  const organizationId = given.organizationId ?? (await it.organization(1_000n))
  const account = await readAccount(it.sql, organizationId, 'USD')
  return {
    cause: causeOf(`test:${newUuid()}`),
    kind: 'CREDIT',
    organizationId,
    amountMicros: 500n,
    fromAccount: house,
    toAccount: account!.id,
    postedAt: at,
    ...given,
  }
}

async function as(role: 'app' | 'owner', text: string, values: unknown[] = []) {
  const client = new pg.Client({
    connectionString: role === 'app' ? it.kit.appUrl : it.kit.ownerUrl,
    options: '-c search_path=billing -c TimeZone=UTC',
  })
  await client.connect()
  try {
    return await client.query(text, values)
  } finally {
    await client.end()
  }
}

describe('posting', () => {
  test('twenty at once of one transaction, over two replicas, post it once', async () => {
    const once = await posting()
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        it.replicas[n % 2]!.database.sqlTransaction((sql) => post(sql, once)),
      ),
    )
    expect(results.filter(Boolean)).toHaveLength(1)
    expect((await it.balance(once.organizationId)).posted).toBe(1_500n)
  })

  test.each([
    ['another amount', { amountMicros: 501n }],
    ['another kind', { kind: 'USAGE' as const }],
  ])('%s under the same cause is refused', async (_name, other) => {
    const first = await posting()
    await post(it.sql, first)
    await expect(post(it.sql, { ...first, ...other })).rejects.toMatchObject({ code: '23505' })
    expect((await it.balance(first.organizationId)).posted).toBe(1_500n)
  })

  test('an account of another organization is refused', async () => {
    const mine = await posting()
    const theirs = await posting()
    const foreign = { ...mine, fromAccount: theirs.toAccount }
    await expect(post(it.sql, foreign)).rejects.toMatchObject({ code: '22023' })
  })

  test('an id that does not derive from time and cause is refused', async () => {
    const { cause, ...rest } = await posting()
    for (const id of [newUuid(), deriveUuid(new Date(at.getTime() + 1), cause.text)]) {
      const forged = post(it.sql, { ...rest, cause: { ...cause, id } })
      await expect(forged).rejects.toMatchObject({ code: '22023' })
    }
  })

  test('a month without a partition gets one', async () => {
    const late = await posting({ cause: causeOf('late', new Date('2026-02-03T04:05:06.789Z')) })
    await post(it.sql, late)
    expect((await it.balance(late.organizationId)).posted).toBe(1_500n)
  })

  test.each([
    ['entries that do not sum to zero', [5, -4], '23514'],
    ['an entry of nothing', [0, 0], '22023'],
    ['a lone entry', [0], '22023'],
  ])('%s are refused', async (_name, amounts, code) => {
    const { cause, organizationId, toAccount } = await posting()
    const accounts = [toAccount, house].slice(0, amounts.length)
    const call = as(
      'app',
      'SELECT post_transaction($1, $2, $3, $4, $5, $6::uuid[], $7::bigint[], now())',
      [cause.id, at, 'CREDIT', cause.text, organizationId, accounts, amounts],
    )
    await expect(call).rejects.toMatchObject({ code })
  })
})

describe('the service’s own role', () => {
  test.each([
    'INSERT INTO ledger_entries SELECT * FROM ledger_entries',
    'INSERT INTO ledger_transactions SELECT * FROM ledger_transactions',
    'UPDATE ledger_entries SET amount_micros = 1',
    'DELETE FROM ledger_entries',
    'TRUNCATE ledger_entries',
    'DELETE FROM ledger_transactions',
    'INSERT INTO ledger_entries_2026_11 SELECT * FROM ledger_entries',
    'UPDATE ledger_accounts SET posted_micros = 1',
    'UPDATE ledger_accounts SET held_micros = 0',
    'DELETE FROM ledger_accounts',
    'UPDATE usage_records SET cost_micros = 0',
    'DELETE FROM usage_records',
    'UPDATE price_versions SET per_hour_micros = 0',
    'DELETE FROM holds',
    'ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_balance',
  ])('may not %s', async (text) => {
    await expect(as('app', text)).rejects.toMatchObject({ code: '42501' })
  })
})

describe('even the owner', () => {
  const insert = `INSERT INTO ledger_entries
      (id, at, transaction_id, account_id, organization_id, amount_micros, currency, posted_at)
    VALUES ($1, $2, $3, $4, $5, $6, 'USD', now())`

  test('cannot commit an entry that unbalances a transaction', async () => {
    const one = await posting()
    await post(it.sql, one)
    const values = [newUuid(), at, one.cause.id, one.toAccount, one.organizationId, 7]
    await expect(as('owner', insert, values)).rejects.toMatchObject({ code: '23514' })
  })

  test('cannot commit entries of a transaction that does not exist', async () => {
    const one = await posting()
    const values = [newUuid(), at, newUuid(), one.toAccount, one.organizationId, 7]
    await expect(as('owner', insert, values)).rejects.toMatchObject({ code: '23514' })
  })

  test.each([
    'UPDATE ledger_entries SET amount_micros = amount_micros + 1 WHERE transaction_id = $1',
    'DELETE FROM ledger_entries WHERE transaction_id = $1',
    'DELETE FROM ledger_entries WHERE transaction_id = $1 AND amount_micros > 0',
  ])('cannot commit %s', async (text) => {
    const one = await posting()
    await post(it.sql, one)
    await expect(as('owner', text, [one.cause.id])).rejects.toMatchObject({ code: '23514' })
  })

  test('cannot end a hold a second time, or bring it back', async () => {
    const organizationId = await it.organization()
    const allocationId = newUuid()
    await it.replicas[0].holds.place({
      allocationId,
      run: 1,
      organizationId,
      gpuModel: 't4',
      gpuCount: 1,
    })
    await it.replicas[0].holds.void(organizationId, { allocationId, run: 1 })
    for (const state of ['PLACED', 'SETTLED']) {
      const text = 'UPDATE holds SET state = $2, ended_at = NULL WHERE allocation_id = $1'
      await expect(as('owner', text, [allocationId, state])).rejects.toMatchObject({
        code: '23514',
      })
    }
  })
})
