import { idToUuid, newId } from '@berth/platform/ids'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAllocation } from '../service/create.ts'
import { releaseAllocation } from '../service/release.ts'
import { type Harness, member, openHarness } from '../testing/harness.ts'

const scope = new AsyncDisposableStack()
let it: Harness
beforeAll(async () => {
  it = await openHarness(scope)
})
afterAll(() => scope.disposeAsync())

describe('a lease', () => {
  test('that is stale changes nothing', async () => {
    it.neighbours.addNode(1)
    const allocation = await it.create(member())
    const [stale] = await it.leases.claim(it.clock.now(), 1)
    if (!stale) throw new Error('nothing to claim')
    expect(await it.leases.claim(it.clock.now(), 1)).toEqual([])
    it.clock.advance(20)
    const [lease] = await it.leases.claim(it.clock.now(), 1)
    if (!lease) throw new Error('an expired lease is not claimed')
    const before = await it.database.sql.query('SELECT * FROM allocations WHERE id = $1::uuid', [
      idToUuid(allocation.id),
    ])
    expect(
      await it.leases.commit(stale, { trigger: 'fail', reason: 'ADMIN' }, it.clock.now()),
    ).toBeNull()
    expect(await it.leases.settle(stale)).toBeNull()
    expect(await it.leases.postpone(stale, it.clock.now())).toBe(false)
    expect(
      await it.database.sql.query('SELECT * FROM allocations WHERE id = $1::uuid', [
        idToUuid(allocation.id),
      ]),
    ).toEqual(before)
    expect(await it.eventsOf(allocation)).toHaveLength(1)
    expect(
      await it.leases.commit(lease, { trigger: 'fail', reason: 'ADMIN' }, it.clock.now()),
    ).toMatchObject({ state: 'FAILED' })
    await it.settle()
    it.neighbours.slots.length = 0
  })

  test('that is renewed stays its holder’s, and a stale one cannot be renewed', async () => {
    const allocation = await it.create(member())
    const [lease] = await it.leases.claim(it.clock.now(), 1)
    if (!lease) throw new Error('nothing to claim')
    for (let i = 0; i < 5; i++) {
      it.clock.advance(10)
      expect(await it.leases.renew(lease, it.clock.now())).toBe(true)
      expect(await it.leases.claim(it.clock.now(), 1)).toEqual([])
    }
    it.clock.advance(20)
    expect(await it.leases.claim(it.clock.now(), 1)).toHaveLength(1)
    const held = 'SELECT lease_token, lease_until FROM allocations WHERE id = $1::uuid'
    const before = await it.database.sql.query(held, [idToUuid(allocation.id)])
    it.clock.advance(1)
    expect(await it.leases.renew(lease, it.clock.now())).toBe(false)
    expect(await it.database.sql.query(held, [idToUuid(allocation.id)])).toEqual(before)
    await it.settle()
  })

  test('is not valid for another state than the one it was claimed in', async () => {
    const asked = member()
    const allocation = await it.create(asked)
    const [lease] = await it.leases.claim(it.clock.now(), 1)
    if (!lease) throw new Error('nothing to claim')
    await releaseAllocation(it.ports, { ...asked, idempotencyKey: null }, allocation)
    expect(
      await it.leases.commit(lease, { trigger: 'fail', reason: 'ADMIN' }, it.clock.now()),
    ).toBeNull()
    expect(await it.read(allocation)).toMatchObject({ state: 'RELEASING', reason: 'USER' })
    await it.leases.postpone(lease, it.clock.now())
    await it.settle()
  })
})

test('eight workers race over twenty allocations: each step is committed once', async () => {
  it.neighbours.addNode(16)
  it.neighbours.addNode(16)
  const created = await Promise.all(Array.from({ length: 20 }, () => it.create(member())))
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 8 }, () => it.newWorker().drain()))
    it.clock.advance(1)
  }
  await it.settle()
  for (const allocation of created) {
    expect(await it.read(allocation)).toMatchObject({ state: 'RUNNING', eventSeq: 5 })
    expect(await it.eventsOf(allocation)).toHaveLength(5)
  }
  expect(it.neighbours.slots.filter((slot) => slot.state === 'BOUND')).toHaveLength(20)
  expect(it.driver.calls.create).toBeGreaterThanOrEqual(20)
  it.neighbours.slots.length = 0
})

describe('a slot', () => {
  test('is refused to a second live allocation, whatever inventory says', async () => {
    const nodeId = it.neighbours.addNode(1)
    const first = await it.create(member())
    await it.settle()
    // Inventory errs: it gives the same slot away again.
    const [slot] = it.neighbours.slots
    if (!slot) throw new Error('no slot')
    Object.assign(slot, { state: 'FREE', allocationId: null })
    const second = await it.create(member())
    await it.newWorker().drain()
    expect(await it.read(second)).toMatchObject({ state: 'REQUESTED', slots: [] })
    expect(await it.read(first)).toMatchObject({ state: 'RUNNING' })
    await it.settle()
    expect(await it.read(second)).toMatchObject({ state: 'FAILED', reason: 'PROVISION_TIMEOUT' })
    expect(it.driver.accounts.get(nodeId)?.size).toBe(1)

    const [one, two] = [first, second].map((allocation) => idToUuid(allocation.id))
    await expect(
      it.database.sql.query(
        `INSERT INTO allocation_slots (allocation_id, run, organization_id, slot_id, gpu_index, gpu_uuid, generation)
         SELECT $2::uuid, run, organization_id, slot_id, gpu_index, gpu_uuid, generation FROM allocation_slots
         WHERE allocation_id = $1::uuid`,
        [one, two],
      ),
    ).rejects.toMatchObject({ code: '23505', constraint: 'allocation_slots_live' })
    it.neighbours.slots.length = 0
  })
})

test('the role that the service runs as can neither delete nor rewrite history', async () => {
  for (const statement of [
    'DELETE FROM allocations',
    'DELETE FROM allocation_events',
    "UPDATE allocation_events SET state = 'RUNNING'",
    'UPDATE allocations SET organization_id = created_by',
    "UPDATE allocations SET actor = '{}'",
    'UPDATE allocation_keys SET public_key = fingerprint',
  ]) {
    await expect(it.database.sql.query(statement)).rejects.toMatchObject({ code: '42501' })
  }
})

test('an organization sees nothing of another', async () => {
  const allocation = await it.create(member())
  const stranger = member()
  const { organizationId } = stranger.actor
  if (!organizationId) throw new Error('a member has an organization')
  expect(await it.ports.allocations.find(organizationId, allocation.id)).toBeNull()
  expect(await it.ports.allocations.findMany(organizationId, [allocation.id])).toEqual([])
  const events = await it.ports.allocations.events(organizationId, [allocation.id], 10)
  expect(events.get(allocation.id)).toEqual([])
  await expect(
    releaseAllocation(it.ports, { ...stranger, idempotencyKey: null }, allocation),
  ).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(
    createAllocation(it.ports, member(organizationId), {
      name: 'job',
      gpuModel: 'a100-sxm4-80gb',
      gpuCount: 1,
      sshKeyIds: [newId('ssk')],
    }),
  ).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await it.settle()
})
