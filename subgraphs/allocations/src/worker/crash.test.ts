import { armFault } from '@berth/platform/test-kit/index'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Allocation } from '../model.ts'
import { createAllocation } from '../service/create.ts'
import { releaseAllocation } from '../service/release.ts'
import { type Harness, member, openHarness } from '../testing/harness.ts'

/** Every boundary of the saga and of the release: between an acknowledgement, a commit and what follows. */
const boundaries = [
  'worker:claimed',
  'slots.hold:acknowledged',
  'holds.place:acknowledged',
  'slots.bind:acknowledged',
  'driver.create:acknowledged',
  'driver.verify:acknowledged',
  'driver.clean:acknowledged',
  'slots.release:acknowledged',
  'holds.void:acknowledged',
  'worker:performed',
  'worker:committed',
] as const

const scope = new AsyncDisposableStack()
let it: Harness
beforeAll(async () => {
  it = await openHarness(scope)
})
afterAll(() => scope.disposeAsync())

type Kill = { readonly boundary: string; readonly nth: number }

/**
 * A process dies at the n-th passing of a boundary: what runs there never goes on, as after kill -9,
 * and its lease stays until it runs out.
 */
function armKill({ boundary, nth }: Kill, onDeath: () => void): () => void {
  let passings = 0
  return armFault(boundary, () => {
    passings += 1
    if (passings !== nth) return
    onDeath()
    return new Promise(() => undefined)
  })
}

/** One process after another, each dying of the first of the kills that it meets, until all is done. */
async function liveThrough(kills: readonly Kill[]): Promise<number> {
  const left = new Set(kills)
  for (let processes = 0; processes < 200; processes++) {
    const died = Promise.withResolvers<void>()
    const disarm = [...left].map((kill) =>
      armKill(kill, () => {
        left.delete(kill)
        died.resolve()
      }),
    )
    await Promise.race([died.promise, it.newWorker().drain()])
    for (const stop of disarm) stop()
    const dueAt = await it.nextDueAt()
    if (!dueAt) return kills.length - left.size
    it.clock.advance(Math.max(0, (dueAt.getTime() - it.clock.now().getTime()) / 1_000))
  }
  throw new Error('it does not come to rest')
}

async function expectNothingLeaks(allocation: Allocation): Promise<void> {
  const now = await it.read(allocation)
  const slots = it.neighbours.slotsOf(allocation.id)
  const hold = it.neighbours.holds.get(allocation.id)
  const accounts = [...it.driver.accounts.values()].filter((node) => node.has(allocation.id))
  expect(['RUNNING', 'FAILED', 'RELEASED']).toContain(now.state)
  expect(now.isCleanupPending).toBe(false)
  if (now.state === 'RUNNING') {
    expect(slots.map((slot) => slot.state)).toEqual(Array(now.gpuCount).fill('BOUND'))
    expect(now.slots.map((slot) => slot.generation)).toEqual(slots.map((slot) => slot.generation))
    expect(hold).toEqual({ holdId: now.holdId, state: 'PLACED' })
    expect(accounts).toHaveLength(1)
  } else {
    expect(slots).toEqual([])
    expect(now.slots).toEqual([])
    expect(accounts).toEqual([])
    if (!now.startedAt) expect(hold?.state ?? 'VOIDED').toBe('VOIDED')
  }
  // The story is told without a gap, once, and each part of it is published.
  const events = await it.eventsOf(allocation)
  expect(events.map((event) => event.sequence)).toEqual(events.map((_, i) => i + 1))
  expect(events.at(-1)?.state).toBe(now.state)
  expect(events.every((event) => event.published?.endsWith(event.state.toLowerCase()))).toBe(true)
  expect(new Set(events.map((event) => event.state)).size).toBe(events.length)
}

function resetNeighbours(): void {
  it.neighbours.slots.length = 0
  it.neighbours.holds.clear()
  it.neighbours.hasCredit = true
  it.neighbours.interfere = null
  it.driver.accounts.clear()
}

test.each(boundaries.flatMap((boundary) => [1, 2, 3].map((nth) => ({ boundary, nth }))))(
  'killed at $boundary, passing $nth, of a life from request to release: nothing leaks',
  async ({ boundary, nth }) => {
    resetNeighbours()
    it.neighbours.addNode(4)
    const asked = member()
    const allocation = await it.create(asked, 2)
    await liveThrough([{ boundary, nth }])
    await expectNothingLeaks(allocation)
    // One death is survived, and not only tidied up after.
    expect(await it.read(allocation)).toMatchObject({ state: 'RUNNING' })
    await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    await liveThrough([{ boundary, nth }])
    await expectNothingLeaks(allocation)
    expect((await it.read(allocation)).state).toMatch(/RELEASED|FAILED/)
    expect(it.neighbours.slots.every((slot) => slot.state === 'FREE')).toBe(true)
  },
)

test('killed after the request is committed, before it is told: the same key finds it again', async () => {
  resetNeighbours()
  it.neighbours.addNode(1)
  const asked = member()
  const died = Promise.withResolvers<void>()
  const disarm = armKill({ boundary: 'create:committed', nth: 1 }, died.resolve)
  const input = { name: 'job', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }
  void createAllocation(it.ports, asked, input)
  await died.promise
  disarm()
  const again = await createAllocation(it.ports, asked, input)
  await it.settle()
  expect(await it.read(again)).toMatchObject({ state: 'RUNNING' })
  const { organizationId } = again
  expect(
    await it.ports.allocations.page(organizationId, { states: null, after: null, take: 10 }),
  ).toHaveLength(1)
  await expectNothingLeaks(again)
})

test('whatever dies, is refused, loses its answer or is released in between, nothing leaks', async () => {
  const kills = fc.uniqueArray(
    fc.record({ boundary: fc.constantFrom(...boundaries), nth: fc.integer({ min: 1, max: 2 }) }),
    { minLength: 1, maxLength: 6, selector: (kill) => kill.boundary },
  )
  const plan = fc.record({
    kills,
    later: kills,
    gpuCount: fc.integer({ min: 1, max: 5 }),
    hasCredit: fc.integer({ min: 0, max: 4 }).map((it) => it > 0),
    /** Which of the neighbours' answers are lost, their effects done. */
    lost: fc.array(fc.boolean(), { maxLength: 15 }),
    /** After how many of them the release is asked for; else when all is done. */
    releasedAfter: fc.option(fc.integer({ min: 0, max: 5 })),
  })
  const ends = new Set<string>()
  let deaths = 0
  await fc.assert(
    fc.asyncProperty(plan, async (drawn) => {
      resetNeighbours()
      it.neighbours.addNode(4)
      it.neighbours.hasCredit = drawn.hasCredit
      const asked = member()
      const allocation = await it.create(asked, drawn.gpuCount)
      const release = () =>
        releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
      let answers = 0
      it.neighbours.interfere = async (_name, when) => {
        if (when === 'before') return
        if (answers === drawn.releasedAfter) await release()
        if (drawn.lost[answers++]) throw new Error('lost')
      }
      deaths += await liveThrough(drawn.kills)
      await expectNothingLeaks(allocation)
      await release()
      deaths += await liveThrough(drawn.later)
      await expectNothingLeaks(allocation)
      const { state, reason } = await it.read(allocation)
      ends.add(`${state} ${reason}`)
      expect(it.neighbours.slots.every((slot) => slot.state === 'FREE')).toBe(true)
    }),
    { numRuns: 60, seed: 20260101, endOnFailure: true },
  )
  // The plans did reach what they are for.
  expect(deaths).toBeGreaterThan(60)
  expect([...ends]).toEqual(
    expect.arrayContaining(['FAILED NO_BALANCE', 'FAILED NO_CAPACITY', 'RELEASED USER']),
  )
}, 120_000)
