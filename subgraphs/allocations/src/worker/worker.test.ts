import { DomainError } from '@berth/platform/errors'
import { idToUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { releaseAllocation } from '../service/release.ts'
import { type Harness, member, openHarness } from '../testing/harness.ts'

const scope = new AsyncDisposableStack()
let it: Harness
beforeAll(async () => {
  it = await openHarness(scope)
})
afterAll(() => scope.disposeAsync())
beforeEach(() => {
  it.neighbours.interfere = null
  it.neighbours.hasCredit = true
  it.driver.failure = null
})

/** Until a state is reached and no further. */
async function workUntil(state: string, id: string): Promise<void> {
  for (let steps = 0; steps < 10; steps++) {
    const [lease] = await it.leases.claim(it.clock.now(), 1)
    expect(lease?.allocation.id).toBe(id)
    if (!lease) return
    await it.leases.postpone(lease, it.clock.now())
    if (lease.allocation.state === state) return
    const stop = armFault('worker:committed', () => new Promise(() => undefined))
    void it.newWorker().drain()
    await expect.poll(async () => (await it.nextDueAt()) !== null, { timeout: 5_000 }).toBe(true)
    await expect
      .poll(async () => (await states(id)).at(-1), { timeout: 5_000 })
      .not.toBe(lease.allocation.state)
    stop()
  }
}

async function states(id: string): Promise<string[]> {
  const rows = await it.database.sql.query<{ state: string }>(
    'SELECT state FROM allocation_events WHERE allocation_id = $1::uuid ORDER BY sequence',
    [idToUuid(id)],
  )
  return rows.map((row) => row.state)
}

describe('an allocation', () => {
  test('goes to RUNNING with slots, hold, account, and one event for each state', async () => {
    const nodeId = it.neighbours.addNode(2)
    const allocation = await it.create(member(), 2)
    await it.settle()
    const running = await it.read(allocation)
    expect(running).toMatchObject({ state: 'RUNNING', nodeId, startedAt: it.clock.now() })
    const slots = it.neighbours.slotsOf(allocation.id)
    expect(slots.map((slot) => slot.state)).toEqual(['BOUND', 'BOUND'])
    expect(running.slots.map((slot) => slot.generation)).toEqual(
      slots.map((slot) => slot.generation),
    )
    expect(it.neighbours.holds.get(allocation.id)).toEqual({
      holdId: running.holdId,
      state: 'PLACED',
    })
    expect(it.driver.accounts.get(nodeId)?.get(allocation.id)).toMatchObject({ gpuIndexes: [0, 1] })
    const expected = ['REQUESTED', 'RESERVED', 'PROVISIONING', 'STARTING', 'RUNNING']
    expect(await it.eventsOf(allocation)).toEqual(
      expected.map((state, i) => ({
        sequence: i + 1,
        state,
        published: `allocations.allocation.${state.toLowerCase()}`,
      })),
    )
  })

  test('that is released is cleaned, its slots are free, and its hold is left to billing', async () => {
    const nodeId = it.neighbours.addNode(1)
    const asked = member()
    const allocation = await it.create(asked)
    await it.settle()
    it.clock.advance(100)
    const releasing = await releaseAllocation(
      it.ports,
      { ...asked, idempotencyKey: null },
      allocation,
    )
    expect(releasing).toMatchObject({ state: 'RELEASING', reason: 'USER', endedAt: it.clock.now() })
    it.clock.advance(100)
    await it.settle()
    const released = await it.read(allocation)
    expect(released).toMatchObject({ state: 'RELEASED', slots: [], endedAt: releasing.endedAt })
    expect(it.driver.accounts.get(nodeId)?.size).toBe(0)
    expect(it.neighbours.slots.filter((slot) => slot.nodeId === nodeId)[0]?.state).toBe('FREE')
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('PLACED')
    const again = await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    expect(again).toEqual(released)
    it.neighbours.slots.length = 0
  })

  test('whose credit is refused gives its slots back, and fails with the reason', async () => {
    it.neighbours.addNode(1)
    it.neighbours.hasCredit = false
    const allocation = await it.create(member())
    await it.settle()
    expect(await it.read(allocation)).toMatchObject({ state: 'FAILED', reason: 'NO_BALANCE' })
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['FREE'])
    it.neighbours.slots.length = 0
  })

  test('whose slots were taken from it before they were bound fails, and voids its hold', async () => {
    it.neighbours.addNode(1)
    it.neighbours.interfere = (name, when) => {
      if (name === 'slots.bind' && when === 'before') {
        for (const slot of it.neighbours.slots) slot.generation += 1
      }
    }
    const allocation = await it.create(member())
    await it.settle()
    expect(await it.read(allocation)).toMatchObject({ state: 'FAILED', reason: 'NODE_LOST' })
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('VOIDED')
    it.neighbours.slots.length = 0
  })
})

describe('a deadline', () => {
  test('ends an allocation that cannot be reserved', async () => {
    it.neighbours.interfere = () => {
      throw new DomainError('CONFLICT', 'not now')
    }
    const allocation = await it.create(member())
    await it.newWorker().drain()
    it.clock.advance(61)
    await it.newWorker().drain()
    expect(await it.read(allocation)).toMatchObject({
      state: 'FAILED',
      reason: 'PROVISION_TIMEOUT',
      isCleanupPending: true,
    })
    it.neighbours.interfere = null
    await it.settle()
    expect(await it.read(allocation)).toMatchObject({ state: 'FAILED', isCleanupPending: false })
  })

  test('ends an allocation whose node does not answer; its slot is quarantined, never free', async () => {
    it.neighbours.addNode(1)
    it.driver.failure = () => new Error('the node does not answer')
    const allocation = await it.create(member())
    await it.settle()
    expect(await it.read(allocation)).toMatchObject({
      state: 'FAILED',
      reason: 'PROVISION_TIMEOUT',
      isCleanupPending: false,
      slots: [],
    })
    expect(it.driver.calls.clean).toBeGreaterThan(1)
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['QUARANTINED'])
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('VOIDED')
    it.neighbours.slots.length = 0
  })

  test('ends a release whose node never confirms: RELEASED in time, the slot quarantined', async () => {
    it.neighbours.addNode(1)
    const asked = member()
    const allocation = await it.create(asked)
    await it.settle()
    it.driver.failure = (call) => (call === 'clean' ? new Error('gone') : null)
    await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    it.clock.advance(599)
    await it.newWorker().drain()
    expect(await it.read(allocation)).toMatchObject({ state: 'RELEASING' })
    it.clock.advance(1)
    // Even while inventory is away: the state does not wait for it, its slots do.
    it.neighbours.interfere = () => {
      throw new DomainError('CONFLICT', 'not now')
    }
    await it.newWorker().drain()
    expect(await it.read(allocation)).toMatchObject({ state: 'RELEASED', isCleanupPending: true })
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['BOUND'])
    it.neighbours.interfere = null
    await it.settle()
    expect(await it.read(allocation)).toMatchObject({ isCleanupPending: false, slots: [] })
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['QUARANTINED'])
    it.neighbours.slots.length = 0
  })

  test('is enforced although the lease is held by a worker that hangs', async () => {
    it.neighbours.addNode(1)
    const allocation = await it.create(member())
    const hung = Promise.withResolvers<void>()
    it.neighbours.interfere = (name) => (name === 'holds.place' ? hung.promise : undefined)
    it.clock.advance(50)
    const stuck = it.newWorker().drain()
    await expect.poll(() => it.neighbours.slots[0]?.state).toBe('HELD')
    it.clock.advance(10)
    await it.newWorker().drain()
    // What it holds is given back when the hung step is over, or its lease.
    expect(await it.read(allocation)).toMatchObject({ state: 'FAILED', isCleanupPending: true })
    hung.resolve()
    await stuck
    await it.settle()
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['FREE'])
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('VOIDED')
    it.neighbours.slots.length = 0
  })
})

describe('a release during PROVISIONING', () => {
  test('ends with a clean node, although the account is made meanwhile', async () => {
    const nodeId = it.neighbours.addNode(1)
    const asked = member()
    const allocation = await it.create(asked)
    await workUntil('PROVISIONING', allocation.id)
    let isReleased = false
    const stop = armFault('driver.create:acknowledged', async () => {
      isReleased = true
      await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    })
    await it.settle()
    stop()
    expect(isReleased).toBe(true)
    expect(await states(allocation.id)).toEqual([
      'REQUESTED',
      'RESERVED',
      'PROVISIONING',
      'RELEASING',
      'RELEASED',
    ])
    expect(it.driver.accounts.get(nodeId)?.size ?? 0).toBe(0)
    expect(it.neighbours.slots.map((slot) => slot.state)).toEqual(['FREE'])
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('VOIDED')
    it.neighbours.slots.length = 0
  })

  test('an account made under a lease that was lost long ago does not stay', async () => {
    const nodeId = it.neighbours.addNode(1)
    const asked = member()
    const allocation = await it.create(asked)
    await workUntil('PROVISIONING', allocation.id)
    const frozen = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const real = it.driver.create
    it.driver.create = async (placement) => {
      begun.resolve()
      await frozen.promise
      return real(placement)
    }
    const late = it.newWorker().drain()
    await begun.promise
    await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    await it.settle()
    expect((await states(allocation.id)).at(-1)).toBe('RELEASED')
    it.driver.create = real
    frozen.resolve()
    await late
    expect(it.driver.accounts.get(nodeId)?.size ?? 0).toBe(0)
    it.neighbours.slots.length = 0
  })
})
