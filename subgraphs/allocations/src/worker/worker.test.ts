import type { Envelope } from '@berth/platform/contract'
import { DomainError } from '@berth/platform/errors'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { DriverCall } from '../driver/port.ts'
import { releaseAllocation } from '../service/release.ts'
import { type Harness, member, openHarness, TRACE } from '../testing/harness.ts'

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

  test('a step whose lease is lost is told so, commits nothing, and what it made is taken back', async () => {
    const nodeId = it.neighbours.addNode(1)
    const asked = member()
    const allocation = await it.create(asked)
    await workUntil('PROVISIONING', allocation.id)
    const begun = Promise.withResolvers<void>()
    const told = Promise.withResolvers<unknown>()
    const finish = Promise.withResolvers<void>()
    const real = it.driver.create
    it.driver.create = async (placement, call) => {
      call?.signal?.addEventListener('abort', () => told.resolve(call.signal?.reason))
      begun.resolve()
      await finish.promise
      // What is under way on the node ends all the same; its answer is lost.
      await real(placement)
      throw new Error('the connection was closed')
    }
    const late = it.newWorker({ renewMs: 20 }).drain()
    await begun.promise
    it.driver.create = real
    await it.database.sql.query('UPDATE allocations SET lease_token = NULL, lease_until = NULL')
    expect(await told.promise).toMatchObject({ message: 'the lease was lost' })
    await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    await it.settle()
    expect((await states(allocation.id)).at(-1)).toBe('RELEASED')
    // The node does not answer at first.
    let failures = 0
    it.driver.failure = (call) =>
      call === 'clean' && failures++ < 2 ? new Error('it does not answer') : null
    finish.resolve()
    await late
    expect(failures).toBe(3)
    expect(it.driver.accounts.get(nodeId)?.size ?? 0).toBe(0)
    expect((await states(allocation.id)).at(-1)).toBe('RELEASED')
    it.neighbours.slots.length = 0
  })
})

test('the request and the trace go with every event and command, and commands name the actor and the run', async () => {
  it.neighbours.addNode(1)
  it.neighbours.asked.length = 0
  const calls: (DriverCall | undefined)[] = []
  const { create } = it.driver
  it.driver.create = (placement, call) => {
    calls.push(call)
    return create(placement)
  }
  const asked = member()
  const allocation = await it.create(asked)
  await it.settle()
  it.driver.create = create
  const trace = TRACE.replaceAll('a', 'c')
  const other = { ...asked, requestId: 'request-2', traceparent: trace, idempotencyKey: null }
  await releaseAllocation(it.ports, other, allocation)
  await it.settle()
  const rows = await it.database.sql.query<{ envelope: Envelope }>(
    'SELECT envelope FROM outbox WHERE aggregate_id = $1::uuid ORDER BY aggregate_seq',
    [idToUuid(allocation.id)],
  )
  const told = rows.map(({ envelope: { correlationId, traceparent, data } }) => [
    correlationId,
    traceparent,
    data.run,
  ])
  const first = Array(5).fill(['request-1', TRACE, 1])
  expect(told).toEqual([...first, ['request-2', trace, 1], ['request-2', trace, 1]])

  const { subject } = asked.actor
  const commands = it.neighbours.asked.map(({ name, run, context }) => [
    name,
    run,
    context.commandId.endsWith(`/${allocation.id}/1`),
    context.actor.subject,
    context.requestId,
    context.traceparent,
  ])
  expect(commands).toEqual([
    ['slots.hold', 1, true, subject, 'request-1', TRACE],
    ['holds.place', 1, true, subject, 'request-1', TRACE],
    ['slots.bind', 1, true, subject, 'request-1', TRACE],
    ['slots.release', 1, true, subject, 'request-2', trace],
  ])
  expect(calls.map((call) => call?.by?.actor?.subject)).toEqual([subject])
  it.neighbours.slots.length = 0
})

describe('the reconciliation', () => {
  async function cutLockHolders(): Promise<void> {
    await it.database.sql.query(
      `SELECT pg_terminate_backend(pid) FROM pg_locks
       WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    )
  }

  test('takes away what stands on a node and should not, and leaves the rest', async () => {
    const [nodeId, elsewhere] = [it.neighbours.addNode(2), it.neighbours.addNode(1)]
    const alive = await it.create(member(), 2)
    const other = await it.create(member())
    await it.settle()
    const ended = await it.create(member())
    const { id: stray } = await it.create(member())
    await it.settle()
    expect((await it.read(ended)).state).toBe('FAILED')
    const place = (allocationId: Id<'alc'>, at: Id<'nod'>) =>
      it.driver.create({ allocationId, nodeId: at, gpuIndexes: [0], publicKeys: [] })
    await place(stray, nodeId)
    // Of a record that a restored backup has not: it may be somebody's work.
    const unknown = newId('alc')
    await place(unknown, nodeId)
    await place(ended.id, nodeId)
    // Alive, but not here.
    await place(other.id, nodeId)
    it.driver.failure = (call) => (call === 'list' ? new Error('unreachable') : null)
    expect(await it.newReconciliation()()).toBe(true)
    expect(it.driver.accounts.get(nodeId)?.size).toBe(5)
    it.driver.failure = null
    // One that cannot be cleaned does not keep the others.
    const { clean } = it.driver
    it.driver.clean = async (of) => {
      if (of.allocationId === stray) throw new Error('it is busy')
      return clean(of)
    }
    expect(await it.newReconciliation()()).toBe(true)
    expect([...(it.driver.accounts.get(nodeId)?.keys() ?? [])]).toEqual([alive.id, stray, unknown])
    it.driver.clean = clean
    expect(await it.newReconciliation()()).toBe(true)
    expect([...(it.driver.accounts.get(nodeId)?.keys() ?? [])]).toEqual([alive.id, unknown])
    expect([...(it.driver.accounts.get(elsewhere)?.keys() ?? [])]).toEqual([other.id])
  })

  test('is done by one replica at a time, and never holds the lock beyond it', async () => {
    const real = it.driver.list
    const begun = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    it.driver.list = async (nodeId) => {
      begun.resolve()
      await go.promise
      return real(nodeId)
    }
    const first = it.newReconciliation()()
    await begun.promise
    const others = await Promise.all([1, 2, 3].map(() => it.newReconciliation()()))
    expect(others).toEqual([false, false, false])
    go.resolve()
    expect(await first).toBe(true)
    expect(await it.newReconciliation()()).toBe(true)
    // Nor when its connection dies meanwhile.
    it.driver.list = async (nodeId) => {
      await cutLockHolders()
      return real(nodeId)
    }
    await expect(it.newReconciliation()()).resolves.toBe(true)
    it.driver.list = real
    expect(await it.newReconciliation()()).toBe(true)
    it.neighbours.slots.length = 0
  })
})
