import { newUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { priceOf } from '../domain/rating.ts'
import {
  checkBooks,
  type Fixture,
  facts,
  holdMicros,
  MODEL,
  openFixture,
  PER_HOUR,
  SETTLE,
  WINDOW,
} from '../test-fixture.ts'
import type { AllocationFacts } from './metering.ts'

let it: Fixture
beforeAll(async () => {
  it = await openFixture()
})
afterAll(async () => {
  await checkBooks(it.kit.adminUrl)
  await it[Symbol.asyncDispose]()
})

const CREDIT = 100_000_000n

async function running(gpuCount = 2, credit = CREDIT) {
  const organizationId = await it.organization(credit)
  const allocationId = newUuid()
  await it.replicas[0].holds.place({
    allocationId,
    run: 1,
    organizationId,
    gpuModel: MODEL,
    gpuCount,
  })
  const begun = facts(organizationId, { allocationId, gpuCount, startedAt: it.clock.now() })
  await it.note(begun)
  return begun
}

function ended(begun: AllocationFacts, endedAt = it.clock.now()): AllocationFacts {
  return { ...begun, endedAt }
}

function windowsOf(allocationId: string) {
  return it.sql.query<{ meter: string; gpuSeconds: bigint; costMicros: bigint; start: Date }>(
    `SELECT meter, gpu_seconds AS "gpuSeconds", cost_micros AS "costMicros", window_start AS start
     FROM usage_records WHERE allocation_id = $1::uuid ORDER BY window_start, meter`,
    [allocationId],
  )
}

const tick = () => it.replicas[0].metering.tick()

describe('a run', () => {
  test('is posted window by window, to the second of its end, and its hold is settled', async () => {
    const begun = await running(2)
    it.clock.advance(WINDOW + SETTLE - 1)
    await tick()
    expect(await windowsOf(begun.allocationId)).toEqual([])
    it.clock.advance(1)
    await tick()
    await tick()
    it.clock.advance(17.9)
    await it.note(ended(begun))

    const windows = await windowsOf(begun.allocationId)
    expect(windows.map(({ gpuSeconds }) => gpuSeconds)).toEqual([120n, 44n])
    const cost = priceOf(164n, PER_HOUR)
    expect(await it.balance(begun.organizationId)).toEqual({ posted: CREDIT - cost, held: 0n })
  })

  test('that missed its ticks is caught up', async () => {
    const begun = await running(1)
    it.clock.advance(10 * WINDOW)
    await tick()
    const [window] = await windowsOf(begun.allocationId)
    expect(window?.gpuSeconds).toBe(BigInt(10 * WINDOW - SETTLE))
    await it.note(ended(begun))
  })

  test('of no whole second costs nothing', async () => {
    const begun = await running(1)
    it.clock.advance(0.999)
    await it.note(ended(begun))
    expect(await windowsOf(begun.allocationId)).toEqual([])
    expect(await it.balance(begun.organizationId)).toEqual({ posted: CREDIT, held: 0n })
  })

  test('that ended before what was posted gets the rest back, window by window', async () => {
    const begun = await running(2)
    const end = new Date(begun.startedAt!.getTime() + 50_000)
    for (let n = 0; n < 3; n++) {
      it.clock.advance(WINDOW + (n === 0 ? SETTLE : 0))
      await tick()
    }
    await it.note(ended(begun, end))
    const windows = await windowsOf(begun.allocationId)
    expect(windows.map(({ meter, gpuSeconds }) => [meter, gpuSeconds])).toEqual([
      ['GPU', 120n],
      ['GPU_REVERSAL', -20n],
      ['GPU', 120n],
      ['GPU_REVERSAL', -120n],
      ['GPU', 120n],
      ['GPU_REVERSAL', -120n],
    ])
    const cost = priceOf(100n, PER_HOUR)
    expect(await it.balance(begun.organizationId)).toEqual({ posted: CREDIT - cost, held: 0n })
    const reversals = await it.sql.query(
      `SELECT FROM ledger_transactions AS reversal JOIN ledger_transactions AS undone
         ON undone.id = reversal.reverses_id AND undone.kind = 'USAGE'
       WHERE reversal.kind = 'REVERSAL' AND reversal.organization_id = $1::uuid`,
      [begun.organizationId],
    )
    expect(reversals).toHaveLength(3)
  })

  test('over the turn of a month has windows of either month', async () => {
    await using other = await openFixture('2026-11-30T23:59:30.500Z')
    const organizationId = await other.organization()
    const begun = facts(organizationId, { startedAt: other.clock.now() })
    await other.note(begun)
    other.clock.advance(90)
    await other.note({ ...begun, endedAt: other.clock.now() })
    const starts = await other.sql.query<{ start: Date }>(
      'SELECT window_start AS start FROM usage_records ORDER BY 1',
    )
    expect(starts.map(({ start }) => start.toISOString())).toEqual([
      '2026-11-30T23:59:30.500Z',
      '2026-12-01T00:00:00.500Z',
    ])
    await checkBooks(other.kit.adminUrl)
  })

  test('of a month without partitions is posted all the same', async () => {
    const organizationId = await it.organization()
    const startedAt = new Date('2026-05-30T00:00:00Z')
    const endedAt = new Date('2026-06-02T00:00:00Z')
    await it.note(facts(organizationId, { gpuCount: 1, startedAt, endedAt }))
    const cost = priceOf(3n * 86_400n, PER_HOUR)
    expect((await it.balance(organizationId)).posted).toBe(CREDIT - cost)
  })

  test('keeps the price that its hold was placed at', async () => {
    const begun = await running(1)
    const [meter] = await it.sql.query<{ price: bigint }>(
      'SELECT per_hour_micros AS price FROM meters WHERE allocation_id = $1::uuid',
      [begun.allocationId],
    )
    expect(meter?.price).toBe(PER_HOUR)
    await it.note(ended(begun))
  })
})

describe('what is told of an allocation', () => {
  test('in any order, any number of times and between any ticks ends the same', async () => {
    const steps = fc.constantFrom(
      'running',
      'stopping',
      'released',
      'tick',
      'wait',
      'other replica',
    )
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { maxLength: 12 }), async (order) => {
        const organizationId = await it.organization()
        const startedAt = it.clock.now()
        const endedAt = new Date(startedAt.getTime() + 100_700)
        const allocationId = newUuid()
        const [first, second] = it.replicas
        const gpuModel = MODEL
        await first.holds.place({ allocationId, run: 1, organizationId, gpuModel, gpuCount: 3 })
        const begun = facts(organizationId, { allocationId, gpuCount: 3, startedAt })
        let replica = first
        for (const step of [...order, 'running', 'stopping', 'tick']) {
          if (step === 'running') await it.note(begun, replica)
          if (step === 'stopping' || step === 'released') {
            await it.note({ ...begun, endedAt }, replica)
          }
          if (step === 'tick') await replica.metering.tick()
          if (step === 'wait') it.clock.advance(41)
          if (step === 'other replica') replica = replica === first ? second : first
        }
        const cost = priceOf(300n, PER_HOUR)
        expect(await it.balance(organizationId)).toEqual({ posted: CREDIT - cost, held: 0n })
      }),
      { numRuns: 25 },
    )
  })

  test('that never ran voids its hold, also before it is placed', async () => {
    const organizationId = await it.organization()
    const failed = facts(organizationId, { endedAt: it.clock.now() })
    const { allocationId } = failed
    const request = { allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount: 2 }
    await it.note(failed)
    await expect(it.replicas[0].holds.place(request)).rejects.toMatchObject({ code: 'CONFLICT' })

    const other = facts(organizationId, { endedAt: it.clock.now() })
    await it.replicas[0].holds.place({ ...request, allocationId: other.allocationId })
    await it.note(other)
    await it.note(other)
    expect((await it.balance(organizationId)).held).toBe(0n)
  })
})

describe('of a process that dies', () => {
  const points = [
    'billing.use.posted',
    'billing.use.recorded',
    'billing.meter.advanced',
    'billing.hold.renewed',
  ]
  test.each(points)('at %s nothing of the window stays, and it is posted once', async (point) => {
    const begun = await running(1)
    it.clock.advance(WINDOW + SETTLE)
    const disarm = armFault(point, () => {
      throw new Error('killed')
    })
    const before = await it.balance(begun.organizationId)
    expect(await tick()).toEqual({ posted: 0, failed: 1 })
    expect(await it.balance(begun.organizationId)).toEqual(before)
    expect(await windowsOf(begun.allocationId)).toEqual([])
    disarm()
    expect(await tick()).toEqual({ posted: 1, failed: 0 })
    expect((await it.balance(begun.organizationId)).posted).toBe(CREDIT - priceOf(60n, PER_HOUR))
    await it.note(ended(begun, new Date(begun.startedAt!.getTime() + 60_000)))
  })

  test.each([
    'billing.meter.opened',
    'billing.use.posted',
    'billing.use.recorded',
    'billing.meter.closed',
    'billing.hold.settled',
  ])('at %s nothing of the run’s end stays, and it is settled once', async (point) => {
    const organizationId = await it.organization()
    const allocationId = newUuid()
    const [{ holds }] = it.replicas
    await holds.place({ allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount: 1 })
    const startedAt = it.clock.now()
    it.clock.advance(30)
    const whole = facts(organizationId, {
      allocationId,
      gpuCount: 1,
      startedAt,
      endedAt: it.clock.now(),
    })
    const disarm = armFault(point, () => {
      throw new Error('killed')
    })
    await expect(it.note(whole)).rejects.toThrow('killed')
    expect(await it.balance(organizationId)).toEqual({ posted: CREDIT, held: holdMicros(1) })
    disarm()
    await it.note(whole)
    await it.note(whole, it.replicas[1])
    const cost = priceOf(30n, PER_HOUR)
    expect(await it.balance(organizationId)).toEqual({ posted: CREDIT - cost, held: 0n })
  })

  test('at a reversal nothing of it stays, and it is made once', async () => {
    const begun = await running(1)
    it.clock.advance(WINDOW + SETTLE)
    await tick()
    const last = ended(begun, new Date(begun.startedAt!.getTime() + 10_000))
    const disarm = armFault('billing.use.reversed', () => {
      throw new Error('killed')
    })
    await expect(it.note(last)).rejects.toThrow('killed')
    disarm()
    await it.note(last)
    const cost = priceOf(10n, PER_HOUR)
    expect((await it.balance(begun.organizationId)).posted).toBe(CREDIT - cost)
  })
})

describe('when credit ends', () => {
  test('it is told once, and notice and deadline are paid for', async () => {
    const credit = holdMicros(2) + priceOf(250n, PER_HOUR)
    const begun = await running(2, credit)
    const { organizationId } = begun
    let seconds = 0
    while ((await it.depletions(organizationId)) === 0 && seconds < 3_600) {
      it.clock.advance(WINDOW)
      seconds += WINDOW
      await tick()
      const { posted, held } = await it.balance(organizationId)
      expect(posted - held >= 0n).toBe(true)
    }
    it.clock.advance(60)
    await tick()
    it.clock.advance(60)
    await Promise.all(it.replicas.map(({ metering }) => metering.tick()))
    expect(await it.depletions(organizationId)).toBe(1)
    // The latest that notice and deadline allow for.
    it.clock.advance(120)
    await it.note(ended(begun))
    const { posted, held } = await it.balance(organizationId)
    expect(held).toBe(0n)
    expect(posted >= 0n).toBe(true)
  })

  test('it is told again for what began to run since, and after new credit', async () => {
    const credit = holdMicros(2) * 2n
    const organizationId = await it.organization(credit)
    const [{ holds }] = it.replicas
    const first = facts(organizationId, { startedAt: it.clock.now() })
    const second = facts(organizationId)
    for (const { allocationId } of [first, second]) {
      await holds.place({ allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount: 2 })
    }
    await it.note(first)
    it.clock.advance(WINDOW + SETTLE)
    await tick()
    expect(await it.depletions(organizationId)).toBe(1)
    const late = { ...second, startedAt: it.clock.now() }
    await it.note(late)
    it.clock.advance(WINDOW + SETTLE)
    await tick()
    it.clock.advance(WINDOW)
    await tick()
    expect(await it.depletions(organizationId)).toBe(2)
    for (const begun of [first, late]) await it.note(ended(begun))

    const third = facts(organizationId, { gpuCount: 1, startedAt: it.clock.now() })
    const { allocationId } = third
    await holds.place({ allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount: 1 })
    await it.note(third)
    for (let n = 0; n < 20; n++) {
      it.clock.advance(WINDOW)
      await tick()
    }
    expect(await it.depletions(organizationId)).toBe(3)
    await it.note(ended(third))
  })

  test('a run without a hold is told of as soon as it owes', async () => {
    const organizationId = await it.organization(0n)
    const begun = facts(organizationId, { startedAt: it.clock.now() })
    await it.note(begun)
    it.clock.advance(WINDOW + SETTLE)
    await tick()
    expect(await it.depletions(organizationId)).toBe(1)
    await it.note(ended(begun))
  })
})

test('two meter loops at once post each window once, and neither fails', async () => {
  const begun = await Promise.all(Array.from({ length: 12 }, () => running(1)))
  for (let round = 0; round < 5; round++) {
    it.clock.advance(WINDOW + SETTLE)
    const results = await Promise.all(it.replicas.map(({ metering }) => metering.tick()))
    expect(results.reduce((sum, { posted }) => sum + posted, 0)).toBe(12)
    expect(results.map(({ failed }) => failed)).toEqual([0, 0])
  }
  for (const one of begun) await it.note(ended(one))
})

test('a meter that cannot be read does not hold up the others', async () => {
  const broken = await running(1)
  const sound = await running(1)
  it.clock.advance(WINDOW + SETTLE)
  // As if its next window had been recorded by somebody else.
  await it.sql.query(
    `INSERT INTO usage_records (id, allocation_id, organization_id, meter, gpu_model_code,
       window_start, window_end, gpu_seconds, cost_micros, currency)
     VALUES ($1::uuid, $2::uuid, $3::uuid, 'GPU', $4, $5::timestamptz, now(), 1, 0, 'USD')`,
    [newUuid(), broken.allocationId, broken.organizationId, MODEL, broken.startedAt],
  )
  expect(await tick()).toEqual({ posted: 1, failed: 1 })
  expect((await it.balance(sound.organizationId)).posted).toBe(CREDIT - priceOf(60n, PER_HOUR))
  await it.note(ended(sound))
  const repair = 'DELETE FROM billing.usage_records WHERE allocation_id = $1'
  await it.asAdmin(repair, [broken.allocationId])
  await it.note(ended(broken))
})

test('two meter loops and two consumers at once: a storm adds up', async () => {
  const organizations = await Promise.all(
    [1n, 1n, 100n].map((n) => it.organization(n * 2_000_000n)),
  )
  const open = new Map<string, AllocationFacts>()
  const chance = fc.sample(fc.double({ min: 0, max: 1, noNaN: true }), { numRuns: 4_000, seed: 7 })
  const random = () => chance.pop() ?? 0
  const both = <T>(work: (n: 0 | 1) => Promise<T>) => Promise.all([work(0), work(1)])

  for (let round = 0; round < 25; round++) {
    const arriving = await Promise.allSettled(
      Array.from({ length: 4 }, async (_, n) => {
        const organizationId = organizations[Math.floor(random() * organizations.length)]!
        const gpuCount = 1 + Math.floor(random() * 4)
        const allocationId = newUuid()
        await it.replicas[n % 2]!.holds.place({
          allocationId,
          run: 1,
          organizationId,
          gpuModel: MODEL,
          gpuCount,
        })
        return facts(organizationId, { allocationId, gpuCount, startedAt: it.clock.now() })
      }),
    )
    for (const result of arriving) {
      if (result.status === 'fulfilled') open.set(result.value.allocationId, result.value)
      else expect(result.reason).toMatchObject({ code: 'INSUFFICIENT_CREDIT' })
    }
    it.clock.advance(1 + Math.floor(random() * 90))
    const leaving = [...open.values()].filter(() => random() < 0.25)
    const staying = [...open.values()].filter(
      ({ allocationId }) => !leaving.some((l) => l.allocationId === allocationId),
    )
    const endedAt = new Date(it.clock.now().getTime() - Math.floor(random() * 20_000))
    await Promise.all([
      both((n) => it.replicas[n].metering.tick()),
      both((n) => Promise.all(staying.map((begun) => it.note(begun, it.replicas[n])))),
      both((n) =>
        Promise.all(leaving.map((begun) => it.note({ ...begun, endedAt }, it.replicas[n]))),
      ),
      both((n) => it.replicas[n].holds.expire()),
    ])
    for (const { allocationId } of leaving) open.delete(allocationId)
  }
  await both((n) =>
    Promise.all([...open.values()].map((begun) => it.note(ended(begun), it.replicas[n]))),
  )
  for (const organizationId of organizations) {
    expect((await it.balance(organizationId)).held).toBe(0n)
  }
  await checkBooks(it.kit.adminUrl)
}, 60_000)
