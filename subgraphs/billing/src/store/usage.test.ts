import { newUuid } from '@berth/platform/ids'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fixture, facts, openFixture, SETTLE, WINDOW } from '../test-fixture.ts'
import { costOf } from './usage.ts'

let it: Fixture
beforeAll(async () => {
  it = await openFixture()
})
afterAll(() => it[Symbol.asyncDispose]())

/** What the ledger took from the organization for use, and gave back. */
async function ledgerCost(organizationId: string): Promise<bigint> {
  const [row] = await it.sql.query<{ micros: bigint }>(
    `SELECT coalesce(-sum(amount_micros), 0)::bigint AS micros FROM ledger_entries AS entry
     JOIN ledger_transactions AS posted ON posted.id = entry.transaction_id
     WHERE posted.kind IN ('USAGE', 'REVERSAL') AND entry.organization_id = $1::uuid`,
    [organizationId],
  )
  return row!.micros
}

test('what meters count is what the ledger took, over runs, ticks and reversals', async () => {
  const run = fc.record({
    gpuCount: fc.integer({ min: 1, max: 4 }),
    ticks: fc.integer({ min: 0, max: 4 }),
    /** Before now: then the windows beyond it are reversed. */
    endedAgo: fc.integer({ min: 0, max: 200 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 3 }), async (runs) => {
      const organizationId = await it.organization()
      const allocationId = newUuid()
      const [{ metering }] = it.replicas
      for (const [n, { gpuCount, ticks, endedAgo }] of runs.entries()) {
        const startedAt = it.clock.now()
        const begun = facts(organizationId, { allocationId, run: n + 1, gpuCount, startedAt })
        await it.note(begun)
        for (let tick = 0; tick < ticks; tick++) {
          it.clock.advance(WINDOW + SETTLE)
          await metering.tick()
          const cost = await costOf(it.sql, organizationId, [allocationId], 'USD')
          expect(cost.get(allocationId)).toBe(await ledgerCost(organizationId))
        }
        const endedAt = new Date(it.clock.now().getTime() - endedAgo * 1_000)
        await it.note({ ...begun, endedAt })
        it.clock.advance(1)
      }
      const cost = await costOf(it.sql, null, [allocationId, newUuid()], 'USD')
      expect([...cost]).toEqual([[allocationId, await ledgerCost(organizationId)]])
      expect((await costOf(it.sql, newUuid(), [allocationId], 'USD')).size).toBe(0)
    }),
    { numRuns: 20 },
  )
})

test('use without an open meter is refused: its cost would be counted nowhere', async () => {
  const refused = it.sql.query(
    `INSERT INTO usage_records (id, allocation_id, organization_id, meter, gpu_model_code,
       window_start, window_end, gpu_seconds, cost_micros, currency)
     VALUES ($1::uuid, $1::uuid, $1::uuid, 'GPU', 'x', now(), now() + interval '1 s', 1, 0, 'USD')`,
    [newUuid()],
  )
  await expect(refused).rejects.toMatchObject({ code: '23503' })
})
