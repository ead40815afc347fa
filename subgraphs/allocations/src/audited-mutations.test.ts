import type { Actor } from '@berth/platform/actor'
import { newUuid } from '@berth/platform/ids'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { auditedMutations } from '@berth/schema/testing/audited-mutations'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { input as allocation, create, stateOf, withKey } from './testing/documents.ts'
import { type Installation, install, memberOf } from './testing/service.ts'

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

const audited: Record<string, readonly string[]> = auditedMutations.allocations

/** What a mutation is asked with, once what it needs is there. */
const asks: Record<string, (actor: Actor) => Promise<object>> = {
  async allocationCreate() {
    it.neighbours.addNode(1)
    return allocation
  },
  allocationRelease: async (actor) => ({ id: await running(actor) }),
  sshKeyAdd: async () => ({ name: 'laptop', publicKey: newSshKeyPair().publicKey }),
  async sshKeyRemove(actor) {
    const added = await ask(actor, 'sshKeyAdd', await asks.sshKeyAdd?.(actor), 'sshKey { id }')
    return { id: added.sshKey.id }
  },
  terminalSessionCreate: async (actor) => ({
    allocationId: await running(actor),
    origin: 'https://console.test',
  }),
}

async function running(actor: Actor): Promise<string> {
  it.neighbours.addNode(1)
  const id = await create(service, actor)
  await expect.poll(() => stateOf(service, actor, id)).toBe('RUNNING')
  return id
}

async function ask(
  actor: Actor,
  mutation: string,
  input: object = {},
  payload = '__typename',
  headers = {},
) {
  const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`
  const query = `mutation ($input: ${type}!) { it: ${mutation}(input: $input) { ${payload} } }`
  const { data, errors } = await service.ask(actor, query, { input }, headers)
  expect(errors, mutation).toBeUndefined()
  return data.it
}

test.each(Object.entries(audited))(
  '%s is audited: %o, with its request',
  async (mutation, actions) => {
    const prepare = asks[mutation]
    if (!prepare) throw new Error(`say here how ${mutation} is asked`)
    const actor = memberOf()
    const input = await prepare(actor)
    const requestId = newUuid()
    const key = mutation === 'allocationCreate' ? withKey() : {}
    await ask(actor, mutation, input, '__typename', { 'x-request-id': requestId, ...key })
    const rows = await it.admin.query(
      `SELECT action, actor->>'sub' AS subject, origin FROM audit_events WHERE request_id = $1`,
      [requestId],
    )
    expect(rows).toEqual(
      actions.map((action) => ({ action, subject: actor.subject, origin: 'graphql' })),
    )
  },
)
