import { newUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkBooks, type Fixture, facts, holdMicros, MODEL, openFixture } from '../test-fixture.ts'

let it: Fixture
beforeAll(async () => {
  it = await openFixture()
})
afterAll(async () => {
  await checkBooks(it.kit.adminUrl)
  await it[Symbol.asyncDispose]()
})

function request(organizationId: string, given: { gpuCount?: number; gpuModel?: string } = {}) {
  return { allocationId: newUuid(), run: 1, organizationId, gpuModel: MODEL, gpuCount: 1, ...given }
}

const code = (error: { code?: string }) => error.code

test('of fifty holds placed at once over two replicas, those that credit covers stand', async () => {
  const credit = holdMicros(1) * 7n + 1n
  const organizationId = await it.organization(credit)
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, (_, n) => it.replicas[n % 2]!.holds.place(request(organizationId))),
  )
  const refused = results.filter((result) => result.status === 'rejected')
  expect(refused).toHaveLength(43)
  expect(new Set(refused.map((it) => code(it.reason)))).toEqual(new Set(['INSUFFICIENT_CREDIT']))
  expect(await it.balance(organizationId)).toEqual({ posted: credit, held: holdMicros(1) * 7n })
})

test('one allocation’s hold, placed twenty times at once, is one', async () => {
  const organizationId = await it.organization()
  const one = request(organizationId)
  const placed = await Promise.all(
    Array.from({ length: 20 }, (_, n) => it.replicas[n % 2]!.holds.place(one)),
  )
  expect(new Set(placed.map(({ holdId }) => holdId)).size).toBe(1)
  expect((await it.balance(organizationId)).held).toBe(holdMicros(1))
})

test('a hold is not for other GPUs than it was placed for, nor for another organization', async () => {
  const [{ holds }] = it.replicas
  const one = request(await it.organization())
  await holds.place(one)
  await expect(holds.place({ ...one, gpuCount: 2 })).rejects.toMatchObject({ code: 'CONFLICT' })
  const organizationId = await it.organization()
  await expect(holds.place({ ...one, organizationId })).rejects.toMatchObject({ code: 'CONFLICT' })
  await expect(holds.void(organizationId, one)).rejects.toMatchObject({
    code: 'NOT_FOUND',
  })
})

test('an organization that nobody has heard of has no credit', async () => {
  const placing = it.replicas[0].holds.place(request(newUuid()))
  await expect(placing).rejects.toMatchObject({ code: 'INSUFFICIENT_CREDIT' })
})

test('a GPU model without a price is not rented', async () => {
  const one = request(await it.organization(), { gpuModel: 'abacus' })
  await expect(it.replicas[0].holds.place(one)).rejects.toMatchObject({ code: 'BAD_INPUT' })
})

test('a hold that is voided gives its credit back, once, and stays void', async () => {
  const [{ holds }] = it.replicas
  const organizationId = await it.organization()
  const one = request(organizationId)
  await holds.place(one)
  const voided = await Promise.all(
    Array.from({ length: 10 }, () => holds.void(organizationId, one)),
  )
  expect(new Set(voided)).toEqual(new Set([true]))
  expect((await it.balance(organizationId)).held).toBe(0n)
  await expect(holds.place(one)).rejects.toMatchObject({ code: 'CONFLICT' })
})

test('a placing that comes after its voiding holds nothing', async () => {
  const [{ holds }] = it.replicas
  const organizationId = await it.organization()
  const one = request(organizationId)
  expect(await holds.void(organizationId, one)).toBe(true)
  await expect(holds.place(one)).rejects.toMatchObject({ code: 'CONFLICT' })
  expect((await it.balance(organizationId)).held).toBe(0n)
})

test('placing and voiding at once ends without a hold or with a refused placing', async () => {
  const organizationId = await it.organization()
  for (let n = 0; n < 20; n++) {
    const one = request(organizationId)
    await Promise.allSettled([
      it.replicas[0].holds.place(one),
      it.replicas[1].holds.void(organizationId, one),
    ])
    expect((await it.balance(organizationId)).held).toBe(0n)
  }
})

test('each run has a hold and a meter of its own, and pays for its own seconds', async () => {
  const [{ holds, metering }] = it.replicas
  const organizationId = await it.organization()
  const first = request(organizationId, { gpuCount: 2 })
  const second = { ...first, run: 2 }
  const { holdId } = await holds.place(first)
  const begun = facts(organizationId, { ...first, startedAt: it.clock.now() })
  await it.note(begun)
  it.clock.advance(30)
  const over = { ...begun, endedAt: it.clock.now() }
  await it.note(over)
  it.clock.advance(600)

  expect((await holds.place(second)).holdId).not.toBe(holdId)
  await expect(holds.place(first)).rejects.toMatchObject({ code: 'CONFLICT' })
  // A late word of the first run ends nothing of the second.
  expect(await holds.void(organizationId, first)).toBe(false)
  expect((await it.balance(organizationId)).held).toBe(holdMicros(2))
  const again = { ...begun, run: 2, startedAt: it.clock.now() }
  await it.note(again)
  await it.note(over)
  it.clock.advance(90)
  await metering.tick()
  expect((await it.balance(organizationId)).held).toBe(holdMicros(2))
  await it.note({ ...again, endedAt: it.clock.now() })
  const runs = await it.sql.query(
    `SELECT run, metered_seconds AS seconds FROM meters WHERE allocation_id = $1::uuid ORDER BY run`,
    [first.allocationId],
  )
  expect(runs).toEqual([
    { run: 1, seconds: 30n },
    { run: 2, seconds: 90n },
  ])
  expect((await it.balance(organizationId)).held).toBe(0n)
  const third = { ...first, run: 3 }
  expect(await holds.void(organizationId, third)).toBe(true)
  await expect(holds.place(third)).rejects.toMatchObject({ code: 'CONFLICT' })
})

test('a hold whose allocation runs is not voided, and does not lapse', async () => {
  const [{ holds }] = it.replicas
  const organizationId = await it.organization()
  const one = request(organizationId, { gpuCount: 2 })
  await holds.place(one)
  const startedAt = it.clock.now()
  await it.note(facts(organizationId, { allocationId: one.allocationId, startedAt }))
  it.clock.advance(7_200)
  await holds.expire()
  expect(await holds.void(organizationId, one)).toBe(false)
  expect((await it.balance(organizationId)).held).toBe(holdMicros(2))
  await it.note(
    facts(organizationId, { allocationId: one.allocationId, startedAt, endedAt: startedAt }),
  )
})

test('a hold that nobody ends lapses, once', async () => {
  const organizationId = await it.organization()
  const one = request(organizationId)
  await it.replicas[0].holds.place(one)
  it.clock.advance(3_599)
  expect(await it.replicas[0].holds.expire()).toBe(0)
  it.clock.advance(1)
  const ended = await Promise.all(it.replicas.map(({ holds }) => holds.expire()))
  expect(ended[0]! + ended[1]!).toBe(1)
  expect((await it.balance(organizationId)).held).toBe(0n)
})

test('a placing that dies half way holds nothing, and is repeated', async () => {
  const [{ holds }] = it.replicas
  const organizationId = await it.organization()
  const one = request(organizationId)
  const disarm = armFault('billing.hold.placed', () => {
    throw new Error('killed')
  })
  await expect(holds.place(one)).rejects.toThrow('killed')
  disarm()
  expect((await it.balance(organizationId)).held).toBe(0n)
  await holds.place(one)
  expect((await it.balance(organizationId)).held).toBe(holdMicros(1))
})
