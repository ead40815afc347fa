import { createLog } from '@berth/platform/log'
import { createHints, openRedis, policyInvalidateChannel } from '@berth/platform/pubsub'
import { GPU_QUOTA } from '@berth/schema/quotas'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { CREATE, create, input, RELEASE, stateOf, withKey } from '../testing/documents.ts'
import { type Installation, install, memberOf } from '../testing/service.ts'

const QUOTA = 4

const scope = new AsyncDisposableStack()
let it: Installation
let replicas: Awaited<ReturnType<Installation['open']>>[]

beforeAll(async () => {
  it = await install(scope)
  it.neighbours.policies[GPU_QUOTA.key] = QUOTA
  replicas = [await it.open(scope), await it.open(scope)]
})
afterAll(() => scope.disposeAsync())
beforeEach(() => it.neighbours.addNode(8))

type Member = ReturnType<typeof memberOf>

/** What came of a request: the allocation's id, or the code that refused it. */
async function ask(actor: Member, gpuCount: number, replica = replicas[0]) {
  const variables = { input: { ...input, gpuCount } }
  const { data, errors } = (await replica?.ask(actor, CREATE, variables, withKey())) ?? {}
  const [error] = errors ?? []
  return { id: data?.allocationCreate?.allocation.id, error, code: error?.extensions.code }
}

async function held(actor: Member): Promise<number> {
  const { data } =
    (await replicas[0]?.ask(actor, '{ allocations { nodes { gpuCount state } } }')) ?? {}
  const live = data.allocations.nodes.filter(
    ({ state }: { state: string }) => state !== 'RELEASED' && state !== 'FAILED',
  )
  return live.reduce((sum: number, { gpuCount }: { gpuCount: number }) => sum + gpuCount, 0)
}

test('however many ask at once, at two replicas, the organization never holds more than it may', async () => {
  it.neighbours.addNode(64)
  const own = memberOf()
  const colleagues = Array.from({ length: 5 }, () => memberOf(own.organizationId))
  const asked = Array.from({ length: 30 }, (_, i) =>
    ask(colleagues[i % 5] ?? own, 1 + (i % 3), replicas[i % 2]),
  )
  const answers = await Promise.all(asked)
  const refused = answers.filter(({ code }) => code === 'QUOTA_EXCEEDED')
  expect(answers.filter(({ id }) => id).length + refused.length).toBe(30)
  expect(refused.length).toBeGreaterThanOrEqual(30 - QUOTA)
  expect(await held(own)).toBeLessThanOrEqual(QUOTA)
  // What is left may be had still.
  for (let left = QUOTA - (await held(own)); left > 0; left--) {
    expect((await ask(own, 1)).code).toBeUndefined()
  }
  expect(await held(own)).toBe(QUOTA)
})

test('the refusal says what is held and what may be, and writes nothing', async () => {
  const actor = memberOf()
  await ask(actor, 3)
  const { error } = await ask(actor, 2)
  expect(error?.message).toContain('holds 3 of the 4 GPUs')
  expect(error?.extensions).toMatchObject({ code: 'QUOTA_EXCEEDED', held: 3, quota: 4 })
  expect(await held(actor)).toBe(3)
  expect((await ask(actor, 1)).code).toBeUndefined()
  expect((await ask(actor, 1)).code).toBe('QUOTA_EXCEEDED')
  expect((await ask(memberOf(), 4)).code, 'another organization').toBeUndefined()
})

test('what is given back counts no longer; a repetition counts once', async () => {
  const actor = memberOf()
  const [replica] = replicas
  if (!replica) throw new Error('there are two')
  const key = withKey()
  const id = await create(replica, actor, key)
  for (let i = 0; i < 5; i++) expect(await create(replica, actor, key)).toBe(id)
  await ask(actor, 3)
  expect((await ask(actor, 1)).code).toBe('QUOTA_EXCEEDED')
  expect(await create(replica, actor, key), 'also when nothing is left').toBe(id)
  await replica.ask(actor, RELEASE, { id })
  await expect.poll(() => stateOf(replica, actor, id), { timeout: 30_000 }).toBe('RELEASED')
  expect((await ask(actor, 1)).code).toBeUndefined()
})

test('a quota that is lowered takes nothing away, and lets nothing more be had', async () => {
  const actor = memberOf()
  await ask(actor, 2)
  it.neighbours.policies[GPU_QUOTA.key] = 1
  try {
    await using own = new AsyncDisposableStack()
    const log = createLog({ service: 'policy', instance: 'test', level: 'silent' })
    const redis = own.adopt(openRedis(it.redis.url, log), (redis) => redis.disconnect())
    const hints = own.adopt(createHints(redis, log), (hints) => hints.close())
    await expect
      .poll(
        async () => {
          await hints.publish(policyInvalidateChannel(GPU_QUOTA.key), '2')
          return (await ask(actor, 1)).error?.extensions
        },
        { timeout: 15_000 },
      )
      .toMatchObject({ code: 'QUOTA_EXCEEDED', quota: 1 })
    expect(await held(actor)).toBeGreaterThanOrEqual(2)
  } finally {
    it.neighbours.policies[GPU_QUOTA.key] = QUOTA
  }
})
