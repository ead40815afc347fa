import { type Actor, anonymous, createActor, OPERATOR_ROLE } from '@berth/platform/actor'
import { newId, uuidToId } from '@berth/platform/ids'
import { bindSlots, holdSlots, nodeEndpoint, releaseSlots } from '@berth/schema/commands/inventory'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openTestApp, person, type TestApp } from './test-app.ts'
import { FINGERPRINT, type Fixture, MODEL, openFixture } from './test-fixture.ts'

let app: TestApp
let it: Fixture
beforeAll(async () => {
  app = await openTestApp({ NODE_PROBE_ALLOWED_CIDRS: '10.1.0.0/16', PROBE_SECONDS: '3600' })
  it = await openFixture(app.kit)
})
beforeEach(() => it.clear())
afterAll(async () => {
  await it[Symbol.asyncDispose]()
  await app[Symbol.asyncDispose]()
})

const operator = person('operator')

async function ask(actor: Actor | null, query: string, variables?: object, key?: string) {
  const { data, errors } = await app.graphql(actor, query, variables, key)
  return errors ? errors[0]?.extensions.code : data
}

const OFFERS = `query ($first: Int, $after: String, $region: String, $gpuModel: String) {
  offers(first: $first, after: $after, region: $region, gpuModel: $gpuModel) {
    nodes { id region { code name } gpuModel { code name memoryMib } available largestAllocation }
    pageInfo { hasNextPage endCursor } } }`

const RESTORE = `mutation ($input: SlotRestoreInput!) {
  slotRestore(input: $input) { slot { state } } }`

async function held(gpuCount = 1, organizationId = newId('org')) {
  const allocationId = newId('alc')
  const input = { allocationId, run: 1, organizationId, gpuModel: MODEL, gpuCount, region: null }
  const output = await app
    .as('allocations')
    .call(holdSlots, input, { commandId: `hold-${allocationId}` })
  return { ...output, allocationId, organizationId }
}

describe('offers', () => {
  test('count what is free now, without a sign-in', async () => {
    await it.node(4)
    await it.node(2)
    await it.node(1, { region: 'us-1' })
    await held(2)
    await held(1)
    const { offers } = await ask(anonymous, OFFERS)
    expect(offers.nodes).toMatchObject([
      {
        region: { code: 'eu-1' },
        gpuModel: { code: MODEL, name: 'NVIDIA A100-SXM4-80GB', memoryMib: 81920 },
        available: 4,
        largestAllocation: 4,
      },
      { region: { code: 'us-1' }, available: 0, largestAllocation: 0 },
    ])
    await it.asAdmin("UPDATE nodes SET state = 'CORDONED' WHERE region_code = 'eu-1'")
    const again = await ask(anonymous, OFFERS, { region: 'eu-1' })
    expect(again.offers.nodes).toMatchObject([{ id: offers.nodes[0].id, available: 0 }])
  })

  test('are walked page by page, and found again by their id', async () => {
    for (const region of ['us-1', 'eu-1']) await it.node(1, { region })
    const first = await ask(anonymous, OFFERS, { first: 1 })
    const after = first.offers.pageInfo.endCursor
    const second = await ask(anonymous, OFFERS, { first: 1, after })
    expect(second.offers.pageInfo.hasNextPage).toBe(false)
    const [{ id }] = second.offers.nodes
    expect(id).not.toBe(first.offers.nodes[0].id)
    const found = await ask(
      anonymous,
      `{ _entities(representations: [{ __typename: "Offer", id: "${id}" }]) {
        ... on Offer { region { code } } } }`,
    )
    expect(found._entities).toEqual([{ region: { code: 'us-1' } }])
    expect(await ask(anonymous, OFFERS, { first: 101 })).toBe('BAD_INPUT')
  })

  test('are of models that are known', async () => {
    const { gpuModels } = await ask(anonymous, '{ gpuModels { code } }')
    expect(gpuModels).toContainEqual({ code: MODEL })
  })

  test('and a code that is none is shown as it is, for an allocation may have asked for it', async () => {
    const found = await ask(
      anonymous,
      `{ _entities(representations: [
        { __typename: "GpuModel", code: "a100-typo" }, { __typename: "Region", code: "nowhere" }
      ]) { ... on GpuModel { code name memoryMib } ... on Region { code name } } }`,
    )
    expect(found._entities).toEqual([
      { code: 'a100-typo', name: 'a100-typo', memoryMib: 0 },
      { code: 'nowhere', name: 'nowhere' },
    ])
  })

  test('are of codes that are text to the database: NUL is not', async () => {
    for (const input of [
      { gpuModel: 'a\0b' },
      { region: 'a\0b' },
      { after: Buffer.from('k:eu-1/a\0b').toString('base64url') },
    ]) {
      expect(await ask(anonymous, OFFERS, input)).toBe('BAD_INPUT')
    }
  })
})

describe('commands', () => {
  test('hold, bind and release GPUs of a node that can be reached', async () => {
    const nodeId = await it.node(2)
    const allocations = app.as('allocations')
    const one = await held(2)
    expect(one.slots.map(({ index }) => index)).toEqual([0, 1])
    const { allocationId } = one
    const fenced = one.slots.map(({ slotId, generation }) => ({ slotId, generation }))
    const bound = await allocations.call(
      bindSlots,
      { allocationId, run: 1, slots: fenced },
      { commandId: 'bind' },
    )
    expect(bound.slots.map(({ generation }) => generation)).toEqual([2, 2])
    const endpoint = await allocations.call(
      nodeEndpoint,
      { nodeId: one.nodeId },
      { commandId: 'endpoint' },
    )
    expect(endpoint).toEqual({
      nodeId: one.nodeId,
      name: `n-${nodeId.slice(0, 30)}`,
      host: `${nodeId}.example`,
      port: 22,
      username: 'berth',
      hostKeyFingerprint: FINGERPRINT,
    })
    const release = { allocationId, run: 1, outcome: 'CLEAN' as const }
    expect(await allocations.call(releaseSlots, release, { commandId: 'release' })).toEqual({
      released: 2,
    })
  })

  test('say why not', async () => {
    const allocations = app.as('allocations')
    await expect(held()).rejects.toMatchObject({ code: 'NO_CAPACITY' })
    const missing = { nodeId: newId('nod') }
    await expect(
      allocations.call(nodeEndpoint, missing, { commandId: 'none' }),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(
      app.as('gateway').call(nodeEndpoint, missing, { commandId: 'gateway' }),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  })
})

describe('slots', () => {
  const SLOTS = `query ($representations: [_Any!]!) { _entities(representations: $representations) {
    ... on Slot { id index gpuUuid state gpuModel { code } } } }`

  test('are shown to who holds them and to operators, to nobody else', async () => {
    await it.node(1)
    const mine = await held()
    const id = mine.slots[0]!.slotId
    const variables = { representations: [{ __typename: 'Slot', id }] }
    const shown = { _entities: [{ id, index: 0, state: 'HELD', gpuModel: { code: MODEL } }] }
    expect(await ask(person('member', mine.organizationId), SLOTS, variables)).toMatchObject(shown)
    expect(await ask(operator, SLOTS, variables)).toMatchObject(shown)
    expect(await ask(person('owner'), SLOTS, variables)).toEqual({ _entities: [null] })
    expect(await ask(anonymous, SLOTS, variables)).toEqual({ _entities: [null] })
  })

  test('that are quarantined are restored by an operator, once', async () => {
    await it.node(1)
    const { allocationId, slots } = await held()
    const release = { allocationId, run: 1, outcome: 'UNCONFIRMED' as const }
    await app.as('allocations').call(releaseSlots, release, { commandId: 'release' })
    const input = { id: slots[0]!.slotId, reason: 'It was looked at' }
    expect(await ask(person('owner'), RESTORE, { input })).toBe('FORBIDDEN')
    expect(await ask(operator, RESTORE, { input: { ...input, reason: ' ' } })).toBe('BAD_INPUT')
    expect(await ask(operator, RESTORE, { input })).toEqual({
      slotRestore: { slot: { state: 'FREE' } },
    })
    expect(await ask(operator, RESTORE, { input })).toBe('CONFLICT')
    expect(await held()).toMatchObject({ slots: [{ slotId: input.id }] })
  })
})

describe('nodes', () => {
  const ENROLL = `mutation ($input: NodeEnrollInput!) {
    nodeEnroll(input: $input) { node { id name state lastProbe { id } slots { id } region { code } } } }`
  const CORDON = `mutation ($input: NodeCordonInput!) { nodeCordon(input: $input) { node { state } } }`
  const UNCORDON = `mutation ($input: NodeUncordonInput!) {
    nodeUncordon(input: $input) { node { state } } }`
  const PROBE = 'mutation ($input: NodeProbeInput!) { nodeProbe(input: $input) { node { id } } }'
  const input = { name: 'one', region: 'eu-1', host: '10.1.2.3' }

  test('are for operators alone', async () => {
    const id = await it.node(1)
    const owner = person('owner')
    expect(await ask(owner, '{ nodes { nodes { id } } }')).toBe('FORBIDDEN')
    expect(await ask(anonymous, '{ nodes { nodes { id } } }')).toBe('UNAUTHENTICATED')
    expect(await ask(owner, ENROLL, { input })).toBe('FORBIDDEN')
    const entity = `{ _entities(representations: [{ __typename: "Node", id: "${uuidToId('nod', id)}" }]) {
      ... on Node { host } } }`
    expect(await ask(owner, entity)).toEqual({ _entities: [null] })
    expect(await ask(operator, entity)).toEqual({ _entities: [{ host: `${id}.example` }] })
    const { nodes } = await ask(
      operator,
      '{ nodes { nodes { id slots { index } lastProbe { ok } } } }',
    )
    expect(nodes.nodes).toEqual([
      { id: uuidToId('nod', id), slots: [{ index: 0 }], lastProbe: null },
    ])
  })

  test('are granted by policy and not by a name: who may look changes nothing', async () => {
    const id = uuidToId('nod', await it.node(1))
    const auditor = person('auditor')
    const { nodes } = await ask(auditor, '{ nodes { nodes { id slots { index } } } }')
    expect(nodes.nodes).toEqual([{ id, slots: [{ index: 0 }] }])
    expect((await ask(auditor, `{ node(id: "${id}") { state } }`)).node).toEqual({ state: 'READY' })
    const reason = 'It may not'
    for (const actor of [auditor, person('owner'), person('member'), person('platform')]) {
      for (const [mutation, given] of [
        [ENROLL, input],
        [PROBE, { id }],
        [CORDON, { id, reason }],
        [UNCORDON, { id }],
        [RESTORE, { id: newId('slt'), reason }],
      ] as const) {
        expect(await ask(actor, mutation, { input: given })).toBe('FORBIDDEN')
      }
    }
    const key = createActor({
      kind: 'api-key',
      organizationId: newId('org'),
      roles: [OPERATOR_ROLE],
      scopes: ['allocation:*'],
    })
    expect(await ask(key, CORDON, { input: { id, reason } }), 'not within its scopes').toBe(
      'FORBIDDEN',
    )
    expect(await it.sql.query('SELECT 1 FROM audit_events')).toEqual([])
  })

  test('are enrolled where they may be dialed, once per name and address', async () => {
    for (const host of ['127.0.0.1', 'localhost', '10.2.0.1', '169.254.169.254', '0x7f.1']) {
      expect(await ask(operator, ENROLL, { input: { ...input, host } })).toBe('BAD_TARGET')
    }
    for (const bad of [{ name: 'No Name' }, { region: 'mars' }, { username: '-oProxyCommand=x' }]) {
      expect(await ask(operator, ENROLL, { input: { ...input, ...bad } })).toBe('BAD_INPUT')
    }
    const { nodeEnroll } = await ask(operator, ENROLL, { input }, 'key-1')
    expect(nodeEnroll.node).toMatchObject({ state: 'ENROLLING', lastProbe: null, slots: [] })
    expect((await ask(operator, ENROLL, { input }, 'key-1')).nodeEnroll.node.id).toBe(
      nodeEnroll.node.id,
    )
    const other = { ...input, host: '10.1.2.4' }
    expect(await ask(operator, ENROLL, { input: other }, 'key-1')).toBe('IDEMPOTENCY_MISMATCH')
    expect(await ask(operator, ENROLL, { input: other })).toBe('CONFLICT')
    expect(await ask(operator, ENROLL, { input: { ...input, name: 'two' } })).toBe('CONFLICT')
  })

  test('are cordoned and uncordoned, audited and told of', async () => {
    const id = uuidToId('nod', await it.node(1))
    const cordon = { input: { id, reason: 'A fan rattles' } }
    expect(await ask(operator, CORDON, cordon)).toEqual({
      nodeCordon: { node: { state: 'CORDONED' } },
    })
    await expect(held()).rejects.toMatchObject({ code: 'NO_CAPACITY' })
    await ask(operator, UNCORDON, { input: { id } })
    await held()
    expect(await ask(operator, CORDON, { input: { id: newId('nod'), reason: 'x' } })).toBe(
      'NOT_FOUND',
    )
    const audits = await it.sql.query(
      'SELECT action, target, reason, actor FROM audit_events ORDER BY id',
    )
    expect(audits).toMatchObject([
      {
        action: 'node.cordon',
        target: id,
        reason: 'A fan rattles',
        actor: { sub: operator.subject },
      },
      { action: 'node.uncordon', target: id, reason: null },
    ])
    const events = await it.sql.query<{ state: string }>(
      `SELECT envelope->'data'->>'state' AS state FROM outbox ORDER BY insert_seq`,
    )
    expect(events.map(({ state }) => state)).toEqual(['CORDONED', 'READY'])
  })

  test('that cannot be asked now are told so', async () => {
    const id = uuidToId('nod', await it.node(1))
    expect(await ask(operator, PROBE, { input: { id } })).toBe('UNAVAILABLE')
    expect(await ask(operator, PROBE, { input: { id: newId('nod') } })).toBe('NOT_FOUND')
    expect(await ask(operator, PROBE, { input: { id: 'x' } })).toBe('BAD_INPUT')
  })

  test('are probed anew each time: a key is refused, and the error says so', async () => {
    const id = uuidToId('nod', await it.node(1))
    const { errors } = await app.graphql(operator, PROBE, { input: { id } }, 'key-1')
    expect(errors?.[0]).toMatchObject({
      message: expect.stringContaining('takes no Idempotency-Key'),
      extensions: { code: 'BAD_INPUT' },
    })
  })

  test('are enrolled by two operators under one key, each their own', async () => {
    const enroll = (actor: Actor, host: string) =>
      ask(actor, ENROLL, { input: { ...input, name: `of-${host.at(-1)}`, host } }, 'my-first')
    const other = person('operator', operator.organizationId ?? undefined)
    const mine = (await enroll(operator, '10.1.2.3')).nodeEnroll.node.id
    const theirs = (await enroll(other, '10.1.2.4')).nodeEnroll.node.id
    expect(theirs).not.toBe(mine)
    expect((await enroll(operator, '10.1.2.3')).nodeEnroll.node.id).toBe(mine)
    expect(await enroll(operator, '10.1.2.4')).toBe('IDEMPOTENCY_MISMATCH')
  })
})

test('it says that it is well', async () => {
  expect((await fetch(`${app.url}/readyz`)).status).toBe(200)
})
