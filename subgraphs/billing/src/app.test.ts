import { anonymous } from '@berth/platform/actor'
import { type Bus, openBus } from '@berth/platform/bus'
import type { EventContract } from '@berth/platform/contract'
import { type Id, idToUuid, newId, newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { formatAmount } from '@berth/platform/money'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import { allocationChanged } from '@berth/schema/events/allocations'
import { organizationCreated } from '@berth/schema/events/policy'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { priceOf } from './domain/rating.ts'
import { openTestApp, person, type TestApp } from './test-app.ts'
import { checkBooks, MODEL, PER_HOUR } from './test-fixture.ts'

let app: TestApp
let bus: Bus
beforeAll(async () => {
  app = await openTestApp({ METER_SECONDS: '1', BERTH_STARTER_CREDIT_MICROS: '5000000' })
  const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
  bus = openBus({ url: app.natsUrl, name: 'test', log })
})
afterAll(async () => {
  await checkBooks(app.kit.adminUrl)
  await bus.close()
  await app[Symbol.asyncDispose]()
})

async function publish(
  contract: EventContract,
  aggregateId: string,
  aggregateSeq: number,
  organizationId: Id<'org'>,
  data: object,
): Promise<void> {
  const { domain, subject, type, version, aggregate } = contract
  const id = newUuid()
  const envelope = {
    id,
    type,
    version,
    aggregate,
    aggregateId,
    aggregateSeq,
    organizationId: idToUuid(organizationId),
    occurredAt: new Date().toISOString(),
    causationId: null,
    correlationId: null,
    traceparent: null,
    data,
  }
  const { lastSeq } = await bus.ensureStream(domain)
  await bus.publish({ domain, subject, id, text: JSON.stringify(envelope), afterSeq: lastSeq })
}

async function welcomed() {
  const owner = person('owner')
  const organizationId = owner.organizationId!
  await publish(organizationCreated, idToUuid(organizationId), 1, organizationId, {})
  await vi.waitFor(async () => expect((await balanceOf(owner)).posted).toBe('5.00'), 10_000)
  return { owner, organizationId }
}

async function balanceOf(actor: ReturnType<typeof person>) {
  const { data, errors } = await app.graphql(
    actor,
    '{ balance { posted { amount currency } held { amount } available { amount } } }',
  )
  expect(errors).toBeUndefined()
  const { posted, held, available } = data.balance
  return { posted: posted.amount, held: held.amount, available: available.amount }
}

test('an organization is welcomed, runs, pays by the second, and reads what it paid', async () => {
  const { owner, organizationId } = await welcomed()
  const allocationId = newId('alc')
  const allocations = app.as('allocations')
  const request = { allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount: 2 }
  const commandId = `hold-${allocationId}`
  const placed = await allocations.call(placeHold, request, { commandId })
  expect(await allocations.call(placeHold, request, { commandId: `${commandId}-2` })).toEqual(
    placed,
  )
  expect(Number((await balanceOf(owner)).held)).toBeGreaterThan(0)

  const startedAt = new Date(Date.now() - 20_000)
  const endedAt = new Date(startedAt.getTime() + 21_500)
  const facts = { ...data(request), startedAt: startedAt.toISOString() }
  const aggregate = idToUuid(allocationId)
  await publish(allocationChanged.RUNNING, aggregate, 1, organizationId, {
    ...facts,
    state: 'RUNNING',
  })
  const cost = '{ usageRecords { nodes { id allocation { id cost { amount } } gpuModel { code }'
  const usage = `${cost} windowStart windowEnd gpuSeconds cost { amount currency } } pageInfo { hasNextPage } } }`
  // The loop posts by itself.
  await vi.waitFor(
    async () => expect((await app.graphql(owner, usage)).data.usageRecords.nodes).not.toEqual([]),
    10_000,
  )
  for (const state of ['RELEASING', 'RELEASED'] as const) {
    const seq = state === 'RELEASING' ? 2 : 3
    await publish(allocationChanged[state], aggregate, seq, organizationId, {
      ...facts,
      state,
      endedAt: endedAt.toISOString(),
    })
  }
  await vi.waitFor(async () => expect((await balanceOf(owner)).held).toBe('0.00'), 10_000)

  const total = formatAmount(priceOf(42n, PER_HOUR))
  const left = formatAmount(5_000_000n - priceOf(42n, PER_HOUR))
  expect(await balanceOf(owner)).toEqual({ posted: left, held: '0.00', available: left })
  const { usageRecords } = (await app.graphql(owner, usage)).data
  const seconds = usageRecords.nodes.map((it: { gpuSeconds: number }) => it.gpuSeconds)
  expect(seconds.reduce((a: number, b: number) => a + b, 0)).toBe(42)
  expect(usageRecords.nodes[0]).toMatchObject({
    id: expect.stringMatching(/^usg_/),
    allocation: { id: allocationId, cost: { amount: total } },
    gpuModel: { code: MODEL },
  })

  const { data: ledger } = await app.graphql(
    owner,
    '{ ledgerEntries(first: 100) { nodes { id kind transactionId amount { amount } at } } }',
  )
  const kinds = ledger.ledgerEntries.nodes.map((it: { kind: string }) => it.kind)
  expect(kinds).toContain('CREDIT')
  expect(kinds).toContain('USAGE')
  const settled = { allocationId, run: 1, organizationId }
  expect(await allocations.call(voidHold, settled, { commandId: 'void' })).toEqual({
    voided: false,
  })
})

function data({ gpuModel, gpuCount }: { gpuModel: string; gpuCount: number }) {
  return {
    reason: null,
    run: 1,
    createdBy: newId('usr'),
    gpuModel,
    gpuCount,
    startedAt: null,
    endedAt: null,
  }
}

test('pages of the ledger are walked once and in order', async () => {
  const { owner, organizationId } = await welcomed()
  const startedAt = new Date(Date.now() - 3_600_000)
  for (let n = 0; n < 4; n++) {
    const begun = new Date(startedAt.getTime() + n * 1_000)
    await publish(allocationChanged.FAILED, newUuid(), 1, organizationId, {
      ...data({ gpuModel: MODEL, gpuCount: 1 }),
      state: 'FAILED',
      startedAt: begun.toISOString(),
      endedAt: new Date(begun.getTime() + 60_000).toISOString(),
    })
  }
  const page = `query ($after: String) { ledgerEntries(first: 2, after: $after) {
    nodes { id } pageInfo { hasNextPage endCursor } } }`
  const walk = async () => {
    const ids: string[] = []
    let after: string | null = null
    do {
      const answer = await app.graphql(owner, page, { after })
      const { nodes, pageInfo } = answer.data.ledgerEntries
      ids.push(...nodes.map((it: { id: string }) => it.id))
      after = pageInfo.hasNextPage ? pageInfo.endCursor : null
    } while (after)
    return ids
  }
  await vi.waitFor(async () => expect(await walk()).toHaveLength(5), 10_000)
  const ids = await walk()
  expect(new Set(ids).size).toBe(5)
  expect(ids).toEqual([...ids].sort().reverse())
  const bad = await app.graphql(owner, page, { after: 'bm9uc2Vuc2U' })
  expect(bad.errors?.[0]?.extensions.code).toBe('BAD_INPUT')
})

const ENTITIES = `query ($representations: [_Any!]!) { _entities(representations: $representations) {
  ... on GpuModel { code pricePerHour { amount currency } }
  ... on Allocation { id cost { amount } }
  ... on LedgerEntry { id amount { amount } }
  ... on UsageRecord { id cost { amount } } } }`

test('anyone may read prices', async () => {
  const representations = [MODEL, 'abacus', 't4'].map((code) => ({ __typename: 'GpuModel', code }))
  const { data, errors } = await app.graphql(anonymous, ENTITIES, { representations })
  expect(errors).toBeUndefined()
  expect(data._entities).toEqual([
    { code: MODEL, pricePerHour: { amount: '1.79', currency: 'USD' } },
    { code: 'abacus', pricePerHour: null },
    { code: 't4', pricePerHour: { amount: '0.31', currency: 'USD' } },
  ])
})

test('another organization reads nothing of it, not even through entities', async () => {
  const { owner, organizationId } = await welcomed()
  const allocation = newUuid()
  await publish(allocationChanged.FAILED, allocation, 1, organizationId, {
    ...data({ gpuModel: MODEL, gpuCount: 1 }),
    state: 'FAILED',
    startedAt: new Date(Date.now() - 120_000).toISOString(),
    endedAt: new Date(Date.now() - 60_000).toISOString(),
  })
  const mine = '{ usageRecords { nodes { id allocation { id } } } ledgerEntries { nodes { id } } }'
  const own = await vi.waitFor(async () => {
    const { data: found } = await app.graphql(owner, mine)
    expect(found.usageRecords.nodes).toHaveLength(1)
    return found
  }, 10_000)
  const [usage] = own.usageRecords.nodes
  const representations = [
    { __typename: 'UsageRecord', id: usage.id },
    { __typename: 'LedgerEntry', id: own.ledgerEntries.nodes[0].id },
    { __typename: 'Allocation', id: usage.allocation.id },
  ]
  const answerTo = async (actor: typeof owner) =>
    (await app.graphql(actor, ENTITIES, { representations })).data._entities
  const stranger = person('owner')
  expect(await answerTo(stranger)).toEqual([
    null,
    null,
    { id: usage.allocation.id, cost: { amount: '0.00' } },
  ])
  const cost = formatAmount(priceOf(60n, PER_HOUR))
  expect(await answerTo(owner)).toMatchObject([{ id: usage.id }, {}, { cost: { amount: cost } }])
  expect(await answerTo(person('operator'))).toMatchObject([null, null, { cost: { amount: cost } }])
  const { data: nothing } = await app.graphql(stranger, mine)
  expect(nothing.usageRecords.nodes).toEqual([])
})

test('who may not read bills does not, and a member reads what an allocation costs', async () => {
  const codeOf = async (actor: Parameters<TestApp['graphql']>[0], query: string) =>
    (await app.graphql(actor, query)).errors?.[0]?.extensions.code
  const balance = '{ balance { posted { amount } } }'
  expect(await codeOf(person('viewer'), balance)).toBe('FORBIDDEN')
  expect(await codeOf(person('member'), balance)).toBe('FORBIDDEN')
  expect(await codeOf(anonymous, balance)).toBe('UNAUTHENTICATED')
  expect(await codeOf(null, balance)).toBe('UNAUTHENTICATED')
  const representations = [{ __typename: 'Allocation', id: newId('alc') }]
  const read = (role: string) => app.graphql(person(role), ENTITIES, { representations })
  expect((await read('member')).data._entities[0].cost.amount).toBe('0.00')
  expect((await read('viewer')).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('commands are for allocations alone', async () => {
  const request = { allocationId: newId('alc'), run: 1, organizationId: newId('org') }
  const call = app.as('gateway').call(voidHold, request, { commandId: 'x' })
  await expect(call).rejects.toMatchObject({ code: 'FORBIDDEN' })
  const broke = app
    .as('allocations')
    .call(placeHold, { ...request, gpuModel: MODEL, gpuCount: 1 }, { commandId: 'y' })
  await expect(broke).rejects.toMatchObject({ code: 'INSUFFICIENT_CREDIT' })
})

test('it says that it is well', async () => {
  const ready = await fetch(`${app.url}/readyz`)
  expect(ready.status).toBe(200)
  const metrics = await (await fetch(`${app.url}/metrics`)).text()
  expect(metrics).toContain('berth_billing_windows_total')
})
