import { type Id, idToUuid, newId } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { type Concern, createRevocations } from '@berth/platform/revocations'
import { readRevocations } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  mutate,
  newOrganization,
  type Policy,
  type Somebody,
  type TestOrganization,
} from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

type Made = { id: Id<'key'>; by: Somebody; org: TestOrganization }

test.each<[string, (it: Made) => Promise<unknown>, boolean]>([
  ['revoked', ({ id, by }) => mutate(policy, by.actor, 'apiKeyRevoke', { id }), true],
  ['rotated', ({ id, by }) => mutate(policy, by.actor, 'apiKeyRotate', { id }), true],
  ['narrowed by plain SQL', ({ id }) => change(id, `scopes = ARRAY['a:read']`), true],
  ['ended by plain SQL', ({ id }) => change(id, 'expires_at = now()'), true],
  ['written as it was', ({ id }) => change(id, 'name = name'), false],
  [
    'deleted',
    ({ id }) => policy.owner.sql.query('DELETE FROM api_keys WHERE id = $1::uuid', [idToUuid(id)]),
    true,
  ],
  [
    'left by its maker',
    ({ by }) => mutate(policy, by.actor, 'membershipRemove', { id: by.membershipId }),
    true,
  ],
  [
    'made by one who was demoted',
    ({ by, org }) =>
      mutate(policy, org.OWNER.actor, 'membershipSetRole', { id: by.membershipId, role: 'VIEWER' }),
    true,
  ],
])('of a key that is %s whoever follows is told within a second', async (_what, act, isTold) => {
  const org = await newOrganization(policy)
  const [key, bystander] = [await make(org.ADMIN), await make(org.OWNER)]
  const told: Concern[] = []
  await using following = await follow((it) => told.push(it))
  await following.settled()
  told.length = 0
  await act({ id: key, by: org.ADMIN, org })
  const concern = { kind: 'credential', id: key }
  if (isTold) await expect.poll(() => told, { timeout: 1_000 }).toContainEqual(concern)
  else {
    await change(bystander, `name = 'told'`)
    const last = { kind: 'credential', id: bystander }
    await expect.poll(() => told).toContainEqual(last)
    expect(told).not.toContainEqual(concern)
  }
  if (isTold) expect(told.map((it) => it.id)).not.toContain(bystander)
})

async function make({ actor }: Somebody): Promise<Id<'key'>> {
  const input = { name: 'CI', scopes: ['allocation:read'] }
  const made = await mutate(policy, actor, 'apiKeyCreate', input, { payload: 'apiKey { id }' })
  return made.apiKey.id as Id<'key'>
}

/** As an operator with plain SQL. */
function change(id: Id<'key'>, assignment: string) {
  return policy.owner.sql.query(`UPDATE api_keys SET ${assignment} WHERE id = $1::uuid`, [
    idToUuid(id),
  ])
}

/** As the gateway follows the changes of authority, over Redis and by asking. */
async function follow(listener: (concern: Concern) => void) {
  const own = new AsyncDisposableStack()
  const redis = own.adopt(openRedis(policy.config.REDIS_URL, policy.log), closeRedis)
  const hints = own.adopt(createHints(redis, policy.log), (it) => it.close())
  const commands = policy.commandsOf('gateway')
  const started = Promise.withResolvers<void>()
  const revocations = own.use(
    createRevocations({
      hints,
      read: (after) =>
        commands.call(readRevocations, { after, limit: 1_000 }, { commandId: newId('cmd') }),
      log: policy.log,
      metrics: createMetrics({ service: 'gateway' }),
    }),
  )
  revocations.subscribe((concern) => {
    // It begins with everyone.
    if (concern.kind === 'everyone') started.resolve()
    listener(concern)
  })
  return {
    settled: () => started.promise,
    [Symbol.asyncDispose]: () => own.disposeAsync(),
  }
}
