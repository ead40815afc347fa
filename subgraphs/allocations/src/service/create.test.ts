import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CREATE, create, input, READ, RELEASE, stateOf, withKey } from '../testing/documents.ts'
import { type Installation, install, memberOf } from '../testing/service.ts'

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

describe('allocationCreate', () => {
  test('answers with slots and hold taken, and the allocation goes on to RUNNING', async () => {
    it.neighbours.addNode(1)
    const actor = memberOf()
    const { data } = await service.ask(actor, CREATE, { input }, withKey())
    const { allocation } = data.allocationCreate
    expect(['RESERVED', 'PROVISIONING', 'STARTING', 'RUNNING']).toContain(allocation.state)
    expect(allocation).toMatchObject({
      name: 'training',
      gpuModel: { code: 'a100-sxm4-80gb' },
      createdBy: { id: actor.subject },
    })
    expect(allocation.slots).toHaveLength(1)
    expect(it.neighbours.holds.get(allocation.id)?.state).toBe('PLACED')
    await expect.poll(() => stateOf(service, actor, allocation.id)).toBe('RUNNING')
    const running = (await service.ask(actor, READ, { id: allocation.id })).data.allocation
    expect(running.ssh).toMatchObject({ host: '192.0.2.10', port: 22, username: 'berth' })
    expect(running.allowedActions).toEqual(['RELEASE', 'OPEN_TERMINAL'])
    expect(running.events.map((event: { sequence: number }) => event.sequence)).toEqual([
      1, 2, 3, 4, 5,
    ])
  })

  test('fifty at once with one key are one allocation', async () => {
    it.neighbours.addNode(4)
    const actor = memberOf()
    const key = withKey()
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => service.ask(actor, CREATE, { input }, key)),
    )
    const ids = answers.flatMap(({ data }) => data?.allocationCreate?.allocation.id ?? [])
    const codes = answers.flatMap(
      ({ errors }) => errors?.map((error) => error.extensions.code) ?? [],
    )
    expect(ids.length + codes.length).toBe(50)
    expect(new Set(ids).size).toBe(1)
    expect(codes.filter((code) => code !== 'IDEMPOTENCY_IN_FLIGHT')).toEqual([])
    expect(await create(service, actor, key)).toBe(ids[0])
    const { data } = await service.ask(actor, '{ allocations { nodes { id } } }')
    expect(data.allocations.nodes).toEqual([{ id: ids[0] }])
    expect(it.neighbours.slots.filter((slot) => slot.allocationId === ids[0])).toHaveLength(1)
  })

  test('the key with another request is refused; another key, and another person’s, is another', async () => {
    it.neighbours.addNode(4)
    const actor = memberOf()
    const key = withKey()
    const id = await create(service, actor, key)
    const other = await service.ask(actor, CREATE, { input: { ...input, gpuCount: 2 } }, key)
    expect(other.errors?.[0]?.extensions.code).toBe('IDEMPOTENCY_MISMATCH')
    const colleague = memberOf(actor.organizationId)
    expect(await create(service, colleague, key), 'nobody squats a key').not.toBe(id)
    expect(await create(service, actor, key), 'nor takes it over').toBe(id)
    expect(await create(service, actor)).not.toBe(id)
    // The same key in another organization is another key.
    expect(await create(service, memberOf(), key)).not.toBe(id)
  })

  test('without a key is refused, and the error names the header', async () => {
    const { errors } = await service.ask(memberOf(), CREATE, { input })
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'BAD_INPUT' } })
    expect(errors?.[0]?.message).toContain('Idempotency-Key')
  })

  test('what cannot be had is refused with its code, each time, and holds nothing', async () => {
    const actor = memberOf()
    const key = withKey()
    const wanted = { ...input, gpuCount: 16 }
    for (const _ of [1, 2]) {
      const { errors } = await service.ask(actor, CREATE, { input: wanted }, key)
      expect(errors?.[0]?.extensions.code).toBe('NO_CAPACITY')
    }
    // Not before what it held is free again: who asks anew at once must not be in their own way.
    it.neighbours.interfere = async (name, when) => {
      if (name === 'slots.release' && when === 'before') await sleep(300)
    }
    it.neighbours.hasCredit = false
    const free = it.neighbours.slots.filter((slot) => slot.state === 'FREE').length
    const { errors } = await service.ask(actor, CREATE, { input }, withKey())
    expect(errors?.[0]?.extensions.code).toBe('INSUFFICIENT_CREDIT')
    expect(it.neighbours.slots.filter((slot) => slot.state === 'FREE')).toHaveLength(free)
    it.neighbours.hasCredit = true
    it.neighbours.interfere = null
    const { data } = await service.ask(actor, '{ allocations { nodes { state reason } } }')
    expect(data.allocations.nodes).toEqual([
      { state: 'FAILED', reason: 'NO_BALANCE' },
      { state: 'FAILED', reason: 'NO_CAPACITY' },
    ])
  })

  test('that cannot be decided in time is answered as REQUESTED, and goes on', async () => {
    await using hasty = new AsyncDisposableStack()
    const replica = await it.open(hasty, { reservationSeconds: 0.05 })
    const blocked = Promise.withResolvers<void>()
    it.neighbours.interfere = (name) => (name === 'slots.hold' ? blocked.promise : undefined)
    const actor = memberOf()
    const { data } = await replica.ask(actor, CREATE, { input }, withKey())
    expect(data.allocationCreate.allocation).toMatchObject({ state: 'REQUESTED', slots: [] })
    it.neighbours.interfere = null
    blocked.resolve()
    it.neighbours.addNode(1)
    await expect
      .poll(() => stateOf(service, actor, data.allocationCreate.allocation.id), { timeout: 15_000 })
      .toBe('RUNNING')
  })

  test.each([
    { name: '' },
    { name: 'x'.repeat(81) },
    { name: 'two\nlines' },
    { gpuCount: 0 },
    { gpuCount: 17 },
    { gpuModel: '../../etc' },
    { region: 'EU 1' },
    { sshKeyIds: ['key'] },
  ])('refuses %o', async (wrong) => {
    const { errors } = await service.ask(
      memberOf(),
      CREATE,
      { input: { ...input, ...wrong } },
      withKey(),
    )
    expect(errors?.[0]?.extensions.code).toBe('BAD_INPUT')
  })
})

test('a rule refuses what it forbids by its facts, holds nothing, and grants the rest', async () => {
  it.neighbours.addNode(2)
  const told: unknown[] = []
  it.neighbours.conditions['allocation:create'] = (facts) => {
    told.push(facts)
    return facts.gpuCount === 1 && facts.region === 'any'
  }
  const actor = memberOf()
  const key = withKey()
  const two = { ...input, gpuCount: 2 }
  const refused = await service.ask(actor, CREATE, { input: two }, key)
  expect(refused.errors?.[0]).toMatchObject({
    message: expect.stringContaining('2 × a100-sxm4-80gb'),
    extensions: { code: 'FORBIDDEN' },
  })
  expect(told).toEqual([{ gpuModel: 'a100-sxm4-80gb', gpuCount: 2, region: 'any' }])
  const elsewhere = { ...input, region: 'eu-1' }
  const other = await service.ask(actor, CREATE, { input: elsewhere }, withKey())
  expect(other.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  const { data } = await service.ask(actor, '{ allocations { nodes { id } } }')
  expect(data.allocations.nodes).toEqual([])
  // What was refused by a rule is no answer under the key: with fewer it is another request.
  const id = await create(service, actor, key)
  expect(id).toMatch(/^alc_/)
  // What was granted is, whatever the rules are by then.
  it.neighbours.conditions['allocation:create'] = () => false
  expect(await create(service, actor, key)).toBe(id)
  const anew = await service.ask(actor, CREATE, { input }, withKey())
  expect(anew.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  const another = await service.ask(memberOf(actor.organizationId), CREATE, { input }, key)
  expect(another.errors?.[0]?.extensions.code, 'a key is one person’s').toBe('FORBIDDEN')
  delete it.neighbours.conditions['allocation:create']
})

test('a person’s changes are audited with who did them; a repetition is not', async () => {
  it.neighbours.addNode(1)
  const actor = memberOf()
  const key = withKey()
  const id = await create(service, actor, key)
  await create(service, actor, key)
  await service.ask(actor, RELEASE, { id })
  await service.ask(actor, RELEASE, { id })
  const rows = await it.admin.query(
    `SELECT action, actor ->> 'sub' AS subject FROM audit_events WHERE target = $1 ORDER BY id`,
    [id],
  )
  expect(rows).toEqual([
    { action: 'allocation.create', subject: actor.subject },
    { action: 'allocation.release', subject: actor.subject },
  ])
})
