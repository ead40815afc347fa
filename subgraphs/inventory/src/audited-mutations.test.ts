import { newId, uuidToId } from '@berth/platform/ids'
import { holdSlots, releaseSlots } from '@berth/schema/commands/inventory'
import { auditedMutations } from '@berth/schema/testing/audited-mutations'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestApp, person, type TestApp } from './test-app.ts'
import { type Fixture, MODEL, openFixture } from './test-fixture.ts'

let app: TestApp
let it: Fixture
beforeAll(async () => {
  app = await openTestApp({ NODE_PROBE_ALLOWED_CIDRS: '10.1.0.0/16', PROBE_SECONDS: '3600' })
  it = await openFixture(app.kit)
})
afterAll(async () => {
  await it[Symbol.asyncDispose]()
  await app[Symbol.asyncDispose]()
})

const operator = person('operator')
const audited: Record<string, readonly string[]> = auditedMutations.inventory
const reason = 'A fan rattles'
const node = async () => uuidToId('nod', await it.node(1))

/** What a mutation is asked with, once what it needs is there. */
const asks: Record<string, () => Promise<object>> = {
  nodeEnroll: async () => ({ name: 'one', region: 'eu-1', host: '10.1.2.3' }),
  // Nothing here signs the certificate that a probe needs: that it was asked for is audited all the same.
  nodeProbe: async () => ({ id: await node() }),
  nodeCordon: async () => ({ id: await node(), reason }),
  async nodeUncordon() {
    const id = await node()
    await ask('nodeCordon', { id, reason })
    return { id }
  },
  async slotRestore() {
    await node()
    const held = { allocationId: newId('alc'), run: 1 }
    const wanted = { organizationId: newId('org'), gpuModel: MODEL, gpuCount: 1, region: null }
    const allocations = app.as('allocations')
    const { slots } = await allocations.call(
      holdSlots,
      { ...held, ...wanted },
      { commandId: newId('cmd') },
    )
    const release = { ...held, outcome: 'UNCONFIRMED' as const }
    await allocations.call(releaseSlots, release, { commandId: newId('cmd') })
    return { id: slots[0]?.slotId, reason }
  },
}

function ask(mutation: string, input: object) {
  const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`
  const query = `mutation ($input: ${type}!) { ${mutation}(input: $input) { __typename } }`
  return app.graphql(operator, query, { input })
}

test.each(Object.entries(audited))('%s is audited: %o', async (mutation, actions) => {
  const prepare = asks[mutation]
  if (!prepare) throw new Error(`say here how ${mutation} is asked`)
  const input = await prepare()
  await it.asAdmin('TRUNCATE audit_events')
  const { errors } = await ask(mutation, input)
  expect(errors?.[0]?.extensions.code).toBe(mutation === 'nodeProbe' ? 'UNAVAILABLE' : undefined)
  const rows = await it.sql.query<{ action: string }>(
    `SELECT action, actor->>'sub' AS subject, request_id AS "requestId", origin FROM audit_events`,
  )
  expect(rows.map(({ action }) => action)).toEqual(actions)
  expect(rows).toEqual([
    {
      action: actions[0],
      subject: operator.subject,
      requestId: expect.any(String),
      origin: 'graphql',
    },
  ])
})
