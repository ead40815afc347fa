import { narrow } from '@berth/platform/actor'
import { type Id, newId } from '@berth/platform/ids'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  CREATE,
  create,
  input,
  READ,
  RELEASE,
  stateOf,
  UPDATES,
  withKey,
} from '../testing/documents.ts'
import { type Installation, install, memberOf } from '../testing/service.ts'

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

describe('who may', () => {
  test('nobody without an assertion, without a role, or without an organization', async () => {
    const { errors: unsigned } = await service.ask(null, '{ allocations { nodes { id } } }')
    expect(unsigned?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    const viewer = memberOf(newId('org'), { roles: ['viewer'] })
    const { errors } = await service.ask(viewer, CREATE, { input }, withKey())
    expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    const stray = await service.ask(memberOf(null), '{ allocations { nodes { id } } }')
    expect(stray.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  })

  test('a foreign organization sees null, NOT_FOUND and no event', async () => {
    it.neighbours.addNode(1)
    const actor = memberOf()
    const id = await create(service, actor)
    const event = (await service.ask(actor, READ, { id })).data.allocation.events[0]
    const stranger = memberOf()
    expect((await service.ask(stranger, READ, { id })).data).toEqual({ allocation: null })
    const release = await service.ask(stranger, RELEASE, { id })
    expect(release.errors?.[0]?.extensions.code).toBe('NOT_FOUND')
    const references = `query ($of: [_Any!]!) { _entities(representations: $of) {
      ... on Allocation { id state } ... on AllocationEvent { id state } } }`
    const of = [
      { __typename: 'Allocation', id },
      { __typename: 'AllocationEvent', id: event.id },
      { __typename: 'Allocation', id: 'nonsense' },
    ]
    const foreign = await service.ask(stranger, references, { of })
    expect(foreign.data).toEqual({ _entities: [null, null, null] })
    const own = await service.ask(actor, references, { of })
    expect(own.data._entities).toMatchObject([{ id }, { id: event.id, state: 'REQUESTED' }, null])
    const updates = await service.subscribe(stranger, UPDATES, { id })
    await expect.poll(() => updates.errors[0]?.extensions.code).toBe('NOT_FOUND')
    updates.close()
  })
})

test('what is shared in an organization is answered without knowing the person; keys are not', async () => {
  it.neighbours.addNode(1)
  const actor = memberOf()
  const id = await create(service, actor)
  const nobody = narrow(actor, 'ORGANIZATION')
  expect((await service.ask(nobody, READ, { id })).data.allocation).toMatchObject({ id })
  const keys = await service.ask(nobody, '{ sshKeys { id } }')
  expect(keys.errors?.[0]?.extensions.code).toBe('INTERNAL')
})

test('pages go from the newest to the oldest without gap or overlap', async () => {
  it.neighbours.addNode(5)
  const actor = memberOf()
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.unshift(await create(service, actor))
  const page = `query ($after: String) { allocations(first: 2, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }`
  const seen: string[] = []
  let after: string | null = null
  for (;;) {
    const { data } = await service.ask(actor, page, { after })
    seen.push(...data.allocations.nodes.map((node: { id: string }) => node.id))
    if (!data.allocations.pageInfo.hasNextPage) break
    after = data.allocations.pageInfo.endCursor
  }
  expect(seen).toEqual(ids)
  const { data } = await service.ask(actor, '{ allocations(states: [RELEASED]) { nodes { id } } }')
  expect(data.allocations.nodes).toEqual([])
})

describe('ssh keys', () => {
  const ADD = `mutation ($key: String!) { sshKeyAdd(input: { name: "laptop", publicKey: $key }) { sshKey { id name publicKey fingerprint } } }`

  test('are a person’s own, and are installed on what they create', async () => {
    const nodeId = it.neighbours.addNode(1)
    for (const slot of it.neighbours.slots)
      if (slot.nodeId !== nodeId && slot.state === 'FREE') slot.state = 'QUARANTINED'
    const actor = memberOf()
    const { publicKey } = newSshKeyPair()
    const added = await service.ask(actor, ADD, { key: `${publicKey} me@laptop` })
    expect(added.data.sshKeyAdd.sshKey).toMatchObject({ name: 'laptop', publicKey })
    const again = await service.ask(actor, ADD, { key: publicKey })
    expect(again.errors?.[0]?.extensions.code).toBe('CONFLICT')
    const bad = await service.ask(actor, ADD, { key: `command="id" ${publicKey}` })
    expect(bad.errors?.[0]?.extensions.code).toBe('BAD_INPUT')

    const { id: keyId } = added.data.sshKeyAdd.sshKey
    const colleague = memberOf(actor.organizationId)
    expect((await service.ask(colleague, '{ sshKeys { id } }')).data.sshKeys).toEqual([])
    const remove = `mutation ($id: ID!) { sshKeyRemove(input: { id: $id }) { sshKeyId } }`
    const theirs = await service.ask(colleague, remove, { id: keyId })
    expect(theirs.errors?.[0]?.extensions.code).toBe('NOT_FOUND')
    const foreign = await service.ask(
      colleague,
      CREATE,
      { input: { ...input, sshKeyIds: [keyId] } },
      withKey(),
    )
    expect(foreign.errors?.[0]?.extensions.code).toBe('NOT_FOUND')

    const id = await create(service, actor)
    await expect.poll(() => stateOf(service, actor, id)).toBe('RUNNING')
    expect(it.driver.accounts.get(nodeId)?.get(id as Id<'alc'>)?.publicKeys).toEqual([publicKey])
    expect((await service.ask(actor, remove, { id: keyId })).data.sshKeyRemove.sshKeyId).toBe(keyId)
    expect((await service.ask(actor, '{ sshKeys { id } }')).data.sshKeys).toEqual([])
  })
})
