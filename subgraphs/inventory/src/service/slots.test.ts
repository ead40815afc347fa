import { newUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { SlotDemand, SlotRow } from '../store/slots.ts'
import { type Fixture, MODEL, openFixture } from '../test-fixture.ts'
import type { HeldSlots } from './slots.ts'

let it: Fixture
beforeAll(async () => {
  it = await openFixture()
})
beforeEach(async () => {
  await it.clear()
})
afterAll(() => it[Symbol.asyncDispose]())

function demand(given: Partial<SlotDemand> = {}): SlotDemand {
  return {
    allocationId: newUuid(),
    run: 1,
    organizationId: newUuid(),
    gpuModel: MODEL,
    gpuCount: 1,
    region: null,
    ...given,
  }
}

const hold = (given?: Partial<SlotDemand>, replica = 0) =>
  it.replicas[replica]!.slots.hold(demand(given))

const fencedOf = ({ slots }: HeldSlots) =>
  slots.map(({ id, generation }) => ({ slotId: id, generation: Number(generation) }))

const code = (name: string) => expect.objectContaining({ code: name })

describe('a hold', () => {
  test('sixty at once over two replicas take every slot once and no more', async () => {
    const nodes = await Promise.all([4, 3, 1].map((gpus) => it.node(gpus)))
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, n) => hold({ gpuCount: 1 + (n % 3) }, n % 2)),
    )
    const held = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []))
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toEqual(code('NO_CAPACITY'))
    }
    const given = held.flatMap(({ slots }) => slots.map(({ id }) => id))
    expect(new Set(given).size).toBe(given.length)
    for (const { nodeId, slots } of held) {
      expect(nodes).toContain(nodeId)
      expect(new Set(slots.map((slot) => slot.nodeId))).toEqual(new Set([nodeId]))
    }
    const taken = (await it.slots()).filter(({ state }) => state === 'HELD')
    expect(taken.map(({ id }) => id).sort()).toEqual(given.sort())
    // What is left is less than the smallest that was refused.
    const smallest = Math.min(
      ...results.map((it, n) => (it.status === 'rejected' ? 1 + (n % 3) : 99)),
    )
    for (const node of nodes) {
      const free = (await it.slots(node)).filter(({ state }) => state === 'FREE')
      expect(free.length).toBeLessThan(smallest)
    }
  })

  test('of one allocation, twenty times at once, is one', async () => {
    await it.node(4)
    const one = demand({ gpuCount: 2 })
    const held = await Promise.all(
      Array.from({ length: 20 }, (_, n) => it.replicas[n % 2]!.slots.hold(one)),
    )
    for (const each of held) expect(fencedOf(each)).toEqual(fencedOf(held[0]!))
    expect((await it.slots()).filter(({ state }) => state === 'HELD')).toHaveLength(2)
  })

  test('goes where the fewest are left free', async () => {
    await it.node(8)
    const small = await it.node(2)
    await it.node(4)
    expect((await hold({ gpuCount: 2 })).nodeId).toBe(small)
  })

  test('is of one node, of the region asked for, or not at all', async () => {
    await it.node(2)
    await it.node(2)
    await expect(hold({ gpuCount: 3 })).rejects.toEqual(code('NO_CAPACITY'))
    await expect(hold({ region: 'us-1' })).rejects.toEqual(code('NO_CAPACITY'))
    expect((await it.slots()).every(({ state }) => state === 'FREE')).toBe(true)
    const american = await it.node(1, { region: 'us-1' })
    expect(await hold({ region: 'us-1' })).toMatchObject({ nodeId: american, region: 'us-1' })
  })

  test.each([
    "state = 'CORDONED'",
    "state = 'DRAINING'",
    "state = 'ENROLLING'",
    "state = 'UNREACHABLE', health = 'FAILURE'",
    "health = 'FAILURE'",
  ])('is not of a node whose %s', async (standing) => {
    await it.node(2)
    await it.asAdmin(`UPDATE nodes SET ${standing}`)
    await expect(hold()).rejects.toEqual(code('NO_CAPACITY'))
  })

  test('of the next run takes slots of its own, and what the first run says late is not its', async () => {
    await it.node(3)
    const first = demand()
    const second = { ...first, run: 2 }
    const [{ slots }] = it.replicas
    const one = await slots.hold(first)
    await slots.bind(first, fencedOf(one))
    const [left] = one.slots
    // Even while the first run's are not given back.
    const early = await slots.hold(second)
    expect(early.slots.map(({ id }) => id)).not.toContain(left?.id)
    await slots.release(first, 'CLEAN')
    await expect(slots.hold(first)).rejects.toEqual(code('CONFLICT'))
    expect(fencedOf(await slots.hold(second))).toEqual(fencedOf(early))
    await expect(slots.bind(first, fencedOf(early))).rejects.toEqual(code('CONFLICT'))
    await slots.bind(second, fencedOf(early))
    expect(await slots.release(first, 'UNCONFIRMED')).toBe(1)
    const states = (await it.slots()).map(({ state, run }) => `${state} ${run}`)
    expect(states.sort()).toEqual(['BOUND 2', 'FREE null', 'FREE null'])
    expect(await slots.release(second, 'UNCONFIRMED')).toBe(1)
    await slots.hold({ ...first, run: 3 })
  })

  test('that asks for something else than the allocation holds is refused', async () => {
    await it.node(4)
    const one = demand()
    await it.replicas[0].slots.hold(one)
    for (const other of [{ gpuCount: 2 }, { organizationId: newUuid() }, { gpuModel: 't4' }]) {
      await expect(hold({ ...one, ...other })).rejects.toEqual(code('CONFLICT'))
    }
  })

  test('that dies half way takes nothing', async () => {
    await it.node(2)
    const disarm = armFault('inventory.slots.taken', () => {
      throw new Error('killed')
    })
    await expect(hold()).rejects.toThrow('killed')
    disarm()
    expect((await it.slots()).every(({ state }) => state === 'FREE')).toBe(true)
  })
})

describe('a node without enforced isolation', () => {
  test('serves one organization at a time, however many ask at once', async () => {
    await it.node(4, { isIsolated: false })
    const organizations = [newUuid(), newUuid(), newUuid()]
    const results = await Promise.allSettled(
      Array.from({ length: 30 }, (_, n) => hold({ organizationId: organizations[n % 3]! }, n % 2)),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(4)
    expect(new Set((await it.slots()).map((slot) => slot.organizationId)).size).toBe(1)
  })

  test('serves one organization also when two ask for different GPUs of it', async () => {
    for (let n = 0; n < 20; n++) {
      await it.clear()
      await it.node(2, { isIsolated: false })
      await it.asAdmin("UPDATE slots SET gpu_model_code = 't4' WHERE index = 1")
      const results = await Promise.allSettled([hold({}, 0), hold({ gpuModel: 't4' }, 1)])
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    }
  })

  test('serves another once it is empty, and not while what it ran may run still', async () => {
    await it.node(2, { isIsolated: false })
    const first = demand()
    const second = demand()
    const [{ slots }] = it.replicas
    await slots.hold(first)
    await expect(slots.hold(second)).rejects.toEqual(code('NO_CAPACITY'))
    await slots.release({ allocationId: first.allocationId, run: 1 }, 'CLEAN')
    await slots.hold(second)
    await slots.release({ allocationId: second.allocationId, run: 1 }, 'UNCONFIRMED')
    await expect(hold()).rejects.toEqual(code('NO_CAPACITY'))
    await hold({ organizationId: second.organizationId })
  })
})

describe('a bind', () => {
  test('of what is held is done once, and answers the same when repeated', async () => {
    await it.node(2)
    const held = await hold({ gpuCount: 2 })
    const { allocationId } = held.slots[0]!
    const bound = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        it.replicas[n % 2]!.slots.bind({ allocationId: allocationId!, run: 1 }, fencedOf(held)),
      ),
    )
    const after = fencedOf(held).map((it) => ({ ...it, generation: it.generation + 1 }))
    for (const each of bound) expect(each).toEqual(after)
    expect((await it.slots()).map(({ state }) => state)).toEqual(['BOUND', 'BOUND'])
  })

  test('with a stale generation or of another allocation changes nothing', async () => {
    await it.node(2)
    const held = await hold({ gpuCount: 2 })
    const { allocationId } = held.slots[0]!
    const [first, second] = fencedOf(held)
    const { slots } = it.replicas[0]
    const stale = { ...second!, generation: second!.generation - 1 }
    await expect(
      slots.bind({ allocationId: allocationId!, run: 1 }, [first!, stale]),
    ).rejects.toEqual(code('CONFLICT'))
    await expect(slots.bind({ allocationId: newUuid(), run: 1 }, [first!])).rejects.toEqual(
      code('CONFLICT'),
    )
    expect((await it.slots()).map(({ state }) => state)).toEqual(['HELD', 'HELD'])
  })

  test('that comes after the release and another hold changes nothing', async () => {
    await it.node(1)
    const [{ slots }] = it.replicas
    const held = await hold()
    const { allocationId } = held.slots[0]!
    await slots.release({ allocationId: allocationId!, run: 1 }, 'CLEAN')
    const next = await hold()
    await expect(
      slots.bind({ allocationId: allocationId!, run: 1 }, fencedOf(held)),
    ).rejects.toEqual(code('CONFLICT'))
    expect((await it.slots())[0]).toMatchObject({
      state: 'HELD',
      allocationId: next.slots[0]!.allocationId,
    })
  })
})

describe('a release', () => {
  test('frees what is clean, quarantines what is not, once', async () => {
    await it.node(4)
    const [{ slots }] = it.replicas
    const clean = await hold({ gpuCount: 2 })
    const dirty = await hold({ gpuCount: 2 })
    expect(
      await slots.release({ allocationId: clean.slots[0]!.allocationId!, run: 1 }, 'CLEAN'),
    ).toBe(2)
    expect(
      await slots.release({ allocationId: dirty.slots[0]!.allocationId!, run: 1 }, 'UNCONFIRMED'),
    ).toBe(2)
    const states = (await it.slots()).map(({ state }) => state).sort()
    expect(states).toEqual(['FREE', 'FREE', 'QUARANTINED', 'QUARANTINED'])
    // What was not confirmed is not made clean by a late word.
    expect(
      await slots.release({ allocationId: dirty.slots[0]!.allocationId!, run: 1 }, 'CLEAN'),
    ).toBe(2)
    expect((await it.slots()).map(({ state }) => state).sort()).toEqual(states)
  })

  test('that is repeated late leaves the next allocation alone', async () => {
    await it.node(1)
    const [{ slots }] = it.replicas
    const { allocationId } = (await hold()).slots[0]!
    await slots.release({ allocationId: allocationId!, run: 1 }, 'CLEAN')
    const next = await hold()
    expect(await slots.release({ allocationId: allocationId!, run: 1 }, 'UNCONFIRMED')).toBe(1)
    expect((await it.slots())[0]).toMatchObject({
      state: 'HELD',
      allocationId: next.slots[0]!.allocationId,
    })
  })

  test('that arrives before its hold keeps the hold out', async () => {
    await it.node(1)
    const late = demand()
    expect(
      await it.replicas[0].slots.release({ allocationId: late.allocationId, run: 1 }, 'CLEAN'),
    ).toBe(0)
    await expect(it.replicas[1].slots.hold(late)).rejects.toEqual(code('CONFLICT'))
    expect((await it.slots())[0]?.state).toBe('FREE')
  })

  test('racing its hold leaves nothing held', async () => {
    await it.node(2)
    for (let n = 0; n < 30; n++) {
      const one = demand()
      const [held] = await Promise.allSettled([
        it.replicas[0].slots.hold(one),
        it.replicas[1].slots.release({ allocationId: one.allocationId, run: 1 }, 'CLEAN'),
      ])
      if (held.status === 'rejected') expect(held.reason).toEqual(code('CONFLICT'))
      expect((await it.slots()).every(({ state }) => state === 'FREE')).toBe(true)
    }
  })
})

test('even the owner cannot change a slot’s state without a greater generation', async () => {
  await it.node(1)
  const changes = [
    "state = 'QUARANTINED'",
    "state = 'QUARANTINED', generation = generation - 1",
    "state = 'HELD', generation = generation + 1",
    'allocation_id = gen_random_uuid(), generation = generation + 1',
  ]
  for (const change of changes) {
    await expect(it.asAdmin(`UPDATE slots SET ${change}`)).rejects.toMatchObject({ code: '23514' })
  }
})

test('any sequence of holds, binds and releases keeps every promise', async () => {
  type Live = { demand: SlotDemand; held: HeldSlots; isOver: boolean }
  const step = fc.record({
    kind: fc.constantFrom('hold', 'hold', 'hold again', 'bind', 'bind stale', 'release', 'lose'),
    pick: fc.nat(),
    gpuCount: fc.integer({ min: 1, max: 3 }),
    organization: fc.nat({ max: 1 }),
    replica: fc.constantFrom(0, 1),
  })
  const organizations = [newUuid(), newUuid()]
  await it.node(3)
  const shared = await it.node(2, { isIsolated: false })

  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const lives: Live[] = []
      let before = new Map((await it.slots()).map((slot) => [slot.id, slot]))
      for (const { kind, pick, gpuCount, organization, replica } of steps) {
        const { slots } = it.replicas[replica]!
        const live = lives[pick % Math.max(1, lives.length)]
        if (kind === 'hold') {
          const asked = demand({ gpuCount, organizationId: organizations[organization]! })
          const held = await slots.hold(asked).catch((error: unknown) => {
            expect(error).toEqual(code('NO_CAPACITY'))
          })
          if (held) lives.push({ demand: asked, held, isOver: false })
        } else if (live && kind === 'hold again') {
          const again = slots.hold(live.demand)
          if (live.isOver) await expect(again).rejects.toEqual(code('CONFLICT'))
          else expect(idsOf(await again)).toEqual(idsOf(live.held))
        } else if (live && kind === 'bind') {
          const bind = slots.bind(
            { allocationId: live.demand.allocationId, run: 1 },
            fencedOf(live.held),
          )
          if (live.isOver) await expect(bind).rejects.toEqual(code('CONFLICT'))
          else await bind
        } else if (live && kind === 'bind stale') {
          const stale = fencedOf(live.held).map((it) => ({ ...it, generation: 0 }))
          await expect(
            slots.bind({ allocationId: live.demand.allocationId, run: 1 }, stale),
          ).rejects.toEqual(code('CONFLICT'))
        } else if (live && (kind === 'release' || kind === 'lose')) {
          const outcome = kind === 'release' ? 'CLEAN' : 'UNCONFIRMED'
          expect(
            await slots.release({ allocationId: live.demand.allocationId, run: 1 }, outcome),
          ).toBe(live.demand.gpuCount)
          live.isOver = true
        }
        before = check(before, await it.slots(), lives)
      }
      for (const { demand: asked } of lives) {
        await it.replicas[0].slots.release({ allocationId: asked.allocationId, run: 1 }, 'CLEAN')
      }
      await it.asAdmin(
        `UPDATE slots SET state = 'FREE', allocation_id = NULL, run = NULL, organization_id = NULL,
           generation = generation + 1 WHERE state = 'QUARANTINED'`,
      )
    }),
    { numRuns: 15 },
  )

  function check(before: Map<string, SlotRow>, now: SlotRow[], lives: Live[]) {
    for (const slot of now) {
      const was = before.get(slot.id)!
      const isSame = was.state === slot.state && was.allocationId === slot.allocationId
      if (isSame) expect(slot.generation).toBe(was.generation)
      else expect(slot.generation).toBeGreaterThan(was.generation)
    }
    for (const { demand: asked, held, isOver } of lives) {
      const carried = now.filter(
        ({ allocationId, state }) => allocationId === asked.allocationId && state !== 'QUARANTINED',
      )
      expect(carried.map(({ id }) => id)).toEqual(isOver ? [] : idsOf(held))
    }
    const tenants = now.flatMap(({ nodeId, organizationId }) =>
      nodeId === shared && organizationId !== null ? [organizationId] : [],
    )
    expect(new Set(tenants).size).toBeLessThanOrEqual(1)
    return new Map(now.map((slot) => [slot.id, slot]))
  }

  function idsOf({ slots }: HeldSlots): string[] {
    return slots.map(({ id }) => id)
  }
}, 60_000)
