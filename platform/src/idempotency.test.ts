import { PrismaClient } from '@berth/prisma/billing'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { anonymous, createActor, serviceActor } from './actor.ts'
import { type Database, openDatabase } from './database.ts'
import {
  clientScope,
  idempotent,
  parseIdempotencyKey,
  refuseIdempotencyKey,
  requestHash,
  withIdempotency,
} from './idempotency.ts'
import { newId, newUuid } from './ids.ts'
import type { Sql } from './sql.ts'
import { type TestDatabase, testDatabase } from './test-kit/index.ts'

let kit: TestDatabase
let database: Database<PrismaClient>
beforeAll(async () => {
  kit = await testDatabase('billing')
  database = openDatabase({
    url: kit.appUrl,
    schema: 'billing',
    poolSize: 20,
    client: (adapter) => new PrismaClient({ adapter }),
  })
})
afterAll(async () => {
  await database.close()
  await kit.drop()
})

const callOf = (key: string, input: unknown = { amount: 1n }) => ({
  scope: 'client:org_1',
  key,
  operation: 'creditAdd',
  requestHash: requestHash(input),
})

/** An effect that leaves a row, by which it can be counted. */
const effectIn = (sql: Sql, mark: string) => async () => {
  await sql.query(`INSERT INTO processed_events (consumer, event_id) VALUES ($1, $2::uuid)`, [
    mark,
    newUuid(),
  ])
  return { receipt: newUuid() }
}
const countOf = async (mark: string) =>
  (await database.sql.query('SELECT FROM processed_events WHERE consumer = $1', [mark])).length

const codeOf = (error: unknown) => (error as { code?: string }).code

test('fifty calls with one key at once are one effect', async () => {
  const key = newUuid()
  const call = () =>
    database.sqlTransaction((sql) => withIdempotency(sql, callOf(key), effectIn(sql, key)))
  const results = await Promise.allSettled(Array.from({ length: 50 }, call))
  const receipts = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []))
  const refusals = results.flatMap((it) => (it.status === 'rejected' ? [codeOf(it.reason)] : []))
  expect(receipts.length).toBeGreaterThan(0)
  expect(new Set(receipts.map((it) => it.receipt)).size).toBe(1)
  expect(new Set(refusals)).toEqual(new Set(refusals.length ? ['IDEMPOTENCY_IN_FLIGHT'] : []))
  expect(await countOf(key)).toBe(1)
  expect(await call()).toEqual(receipts[0])
  expect(await countOf(key)).toBe(1)
})

test('a repetition while the first call runs is told so at once, and does not hang', async () => {
  const key = newUuid()
  const begun = Promise.withResolvers<void>()
  const finish = Promise.withResolvers<void>()
  const first = database.sqlTransaction((sql) =>
    withIdempotency(sql, callOf(key), async () => {
      const receipt = await effectIn(sql, key)()
      begun.resolve()
      await finish.promise
      return receipt
    }),
  )
  await begun.promise
  const start = performance.now()
  const second = database.sqlTransaction((sql) =>
    withIdempotency(sql, callOf(key), () => expect.unreachable()),
  )
  await expect(second).rejects.toMatchObject({ code: 'IDEMPOTENCY_IN_FLIGHT' })
  expect(performance.now() - start).toBeLessThan(5_000)
  // Another key is not held up.
  const other = newUuid()
  await database.sqlTransaction((sql) => withIdempotency(sql, callOf(other), effectIn(sql, other)))
  finish.resolve()
  await first
})

test('an effect that fails frees its key, and leaves nothing', async () => {
  const key = newUuid()
  const failing = database.sqlTransaction((sql) =>
    withIdempotency(sql, callOf(key), async () => {
      await effectIn(sql, key)()
      throw new Error('card declined')
    }),
  )
  await expect(failing).rejects.toThrow('card declined')
  expect(await countOf(key)).toBe(0)
  // Even for another request: nothing was done under it.
  await database.sqlTransaction((sql) =>
    withIdempotency(sql, callOf(key, { amount: 2n }), effectIn(sql, key)),
  )
  expect(await countOf(key)).toBe(1)
})

test('a connection that dies in the middle frees the key', async () => {
  const key = newUuid()
  const dying = database.sqlTransaction((sql) =>
    withIdempotency(sql, callOf(key), async () => {
      await effectIn(sql, key)()
      const [row] = await sql.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      await database.sql.query('SELECT pg_terminate_backend($1)', [row?.pid])
      return effectIn(sql, key)()
    }),
  )
  await expect(dying).rejects.toThrow()
  await database.sqlTransaction((sql) => withIdempotency(sql, callOf(key), effectIn(sql, key)))
  expect(await countOf(key)).toBe(1)
})

test.each([
  ['another body', { requestHash: requestHash({ amount: 2n }) }],
  ['another operation', { operation: 'creditRemove' }],
])('the key of a request is refused for %s', async (_what, changed) => {
  const key = newUuid()
  await database.sqlTransaction((sql) => withIdempotency(sql, callOf(key), effectIn(sql, key)))
  const other = database.sqlTransaction((sql) =>
    withIdempotency(sql, { ...callOf(key), ...changed }, effectIn(sql, key)),
  )
  await expect(other).rejects.toMatchObject({ code: 'IDEMPOTENCY_MISMATCH' })
  expect(await countOf(key)).toBe(1)
})

test('the same key of another scope is another key', async () => {
  const key = newUuid()
  for (const scope of ['client:org_1', 'client:org_2', 'command:allocations']) {
    const call = { ...callOf(key), scope }
    await database.sqlTransaction((sql) => withIdempotency(sql, call, effectIn(sql, key)))
  }
  expect(await countOf(key)).toBe(3)
})

test('it works through Prisma, and the stored response is what came', async () => {
  const key = newUuid()
  const run = () =>
    database.transaction(({ sql }) =>
      withIdempotency(sql, callOf(key), async () => ({
        list: [1, 'ä', null],
        deep: { yes: true },
      })),
    )
  const first = await run()
  expect(await run()).toEqual(first)
})

test('an expired key is free again', async () => {
  const key = newUuid()
  const call = { ...callOf(key), ttlHours: 0 }
  for (const _ of [1, 2]) {
    await database.sqlTransaction((sql) => withIdempotency(sql, call, effectIn(sql, key)))
  }
  expect(await countOf(key)).toBe(2)
})

const personOf = (organizationId = newId('org'), subject = newId('usr')) =>
  createActor({ kind: 'person', organizationId, subject })

test('people meet in no key: not two of an organization, nor one person in two', async () => {
  const [org, user] = [newId('org'), newId('usr')]
  const people = [
    personOf(org, user),
    personOf(org),
    personOf(newId('org'), user),
    createActor({ kind: 'person', subject: user }),
    createActor({ kind: 'api-key', organizationId: org }),
  ]
  const mark = newUuid()
  const call = (actor: (typeof people)[number], input: unknown) =>
    database.sqlTransaction((sql) =>
      idempotent(sql, { actor, idempotencyKey: '"my-first"' }, 'add', input, effectIn(sql, mark)),
    )
  // Each asks for something else under README's own key, and each is answered, once.
  for (const [i, actor] of people.entries()) {
    const receipt = await call(actor, { i })
    expect(await call(actor, { i })).toEqual(receipt)
    await expect(call(actor, { i: -1 })).rejects.toMatchObject({ code: 'IDEMPOTENCY_MISMATCH' })
  }
  expect(await countOf(mark)).toBe(people.length)
  expect(clientScope(people[0]!)).toBe(`client:${org}:${user}`)
  expect(clientScope(people[3]!)).toBe(`client:-:${user}`)
  expect(clientScope(people[4]!)).toBe(`client:${org}:-`)
})

test('who is nobody in particular has no keys, and no key is no promise', async () => {
  const mark = newUuid()
  const call = (actor: typeof anonymous, idempotencyKey: string | null) =>
    database.sqlTransaction((sql) =>
      idempotent(sql, { actor, idempotencyKey }, 'add', {}, effectIn(sql, mark)),
    )
  await expect(call(anonymous, 'k')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  await expect(call(serviceActor('billing'), 'k')).rejects.toMatchObject({ code: 'FORBIDDEN' })
  await expect(call(personOf(), '')).rejects.toMatchObject({ code: 'BAD_INPUT' })
  expect(await countOf(mark)).toBe(0)
  const actor = personOf()
  for (const _ of [1, 2]) await call(actor, null)
  expect(await countOf(mark)).toBe(2)
})

test('a key that cannot be honoured is refused, and the error says why', () => {
  refuseIdempotencyKey({ idempotencyKey: null }, 'ask', 'ask again')
  for (const idempotencyKey of ['', 'k']) {
    expect(() => refuseIdempotencyKey({ idempotencyKey }, 'ask', 'ask again')).toThrow(
      expect.objectContaining({
        code: 'BAD_INPUT',
        message: 'ask takes no Idempotency-Key: ask again',
      }),
    )
  }
})

test('the hash of a request depends on what it says and not on how', () => {
  const at = new Date(0)
  expect(requestHash({ a: 1, b: { c: [1n], d: at } })).toBe(
    requestHash({ b: { d: at, c: [1n] }, a: 1, e: undefined }),
  )
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      // JSON has no -0.
      const [one, two] = [a, b].map((it) => JSON.parse(JSON.stringify(it)) as unknown)
      const isEqual = sorted(one) === sorted(two)
      expect(requestHash(one) === requestHash(two)).toBe(isEqual)
    }),
  )
  expect(requestHash({ a: '1' })).not.toBe(requestHash({ a: 1 }))
  expect(requestHash(['ab'])).not.toBe(requestHash(['a', 'b']))
})

function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, it: unknown) =>
    it !== null && typeof it === 'object' && !Array.isArray(it)
      ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => (a < b ? -1 : 1)))
      : it,
  )
}

test.each([
  ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
  ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
  [String.raw`"a\"b\\c"`, String.raw`a"b\c`],
  [' key ', 'key'],
  ['x'.repeat(255), 'x'.repeat(255)],
])('Idempotency-Key %j is %j', (header, key) => {
  expect(parseIdempotencyKey(header)).toBe(key)
})

test.each([
  '',
  '""',
  '"',
  '"open',
  'ä',
  'a\tb',
  'x'.repeat(256),
  '"a"b"',
  String.raw`"a\b"`,
  'a\0',
])('Idempotency-Key %j is refused', (header) => {
  expect(() => parseIdempotencyKey(header)).toThrowError(
    expect.objectContaining({ code: 'BAD_INPUT' }),
  )
})
