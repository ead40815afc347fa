import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { PEOPLE } from '../../test-subgraphs/subgraphs.ts'

const WHO = { query: '{ viewer { roles organization { id } } }' }
const [ORG = '', SECOND = ''] = Object.keys(PEOPLE.user?.organizations ?? {})

let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway()
})
afterEach(async () => {
  await platform.change('user', undefined)
  await vi.waitFor(async () => expect(await rolesOf('user')).toEqual(['member']))
})
afterAll(() => platform[Symbol.asyncDispose]())

const ask = async (subject: string) =>
  gateway.ask(WHO, { authorization: `Bearer ${await platform.issuer.token(subject)}` })

async function rolesOf(subject: string): Promise<unknown> {
  const { body } = await ask(subject)
  return (body.data?.viewer as { roles?: unknown } | undefined)?.roles
}

test.each([
  ['told', false, 1_000],
  ['whose message was lost', true, 3_000],
])('a role taken away, %s, is gone from requests', async (_what, isLost, bound) => {
  expect(await rolesOf('user')).toEqual(['member'])
  await platform.change('user', { [ORG]: ['viewer'] }, { isLost })
  await vi.waitFor(async () => expect(await rolesOf('user')).toEqual(['viewer']), {
    timeout: bound,
    interval: 20,
  })
})

test('who was removed is refused in the next request that comes after', async () => {
  expect((await ask('user')).status).toBe(200)
  await platform.change('user', null)
  await vi.waitFor(async () => expect((await ask('user')).status).toBe(401), { timeout: 1_000 })
  expect((await ask('colleague')).status).toBe(200)
})

test('nobody else is asked about anew', async () => {
  await ask('user')
  await ask('colleague')
  const before = Number(await platform.redis.get('actors.resolve'))
  await platform.change('user', { [ORG]: ['viewer'] })
  await vi.waitFor(async () => expect(await rolesOf('user')).toEqual(['viewer']))
  await ask('colleague')
  expect(Number(await platform.redis.get('actors.resolve'))).toBe(before + 1)
})

test('roles in another organization are another matter, and a removed one is FORBIDDEN', async () => {
  const headers = {
    authorization: `Bearer ${await platform.issuer.token('user')}`,
    'berth-organization': SECOND,
  }
  expect((await gateway.ask(WHO, headers)).status).toBe(200)
  await platform.change('user', { [ORG]: ['member'] })
  await vi.waitFor(async () => expect((await gateway.ask(WHO, headers)).status).toBe(403))
  expect((await ask('user')).status).toBe(200)
})

test.each([
  ['told', false, 1_000],
  ['whose message was lost', true, 3_000],
])(
  'a removal, %s, ends the connection of who was removed and no other',
  async (_what, isLost, bound) => {
    const [user, colleague] = [await connected('user'), await connected('colleague')]
    await platform.change('user', null, { isLost })
    await vi.waitFor(() => expect(user.code).toBe(4401), { timeout: bound, interval: 10 })
    expect(colleague.code).toBeNull()
    await colleague.client.dispose()
  },
)

test('while policy cannot be asked, its silence has an age', async () => {
  const age = async () => {
    const metric = gateway.metrics.registry.getSingleMetric('berth_revocations_age_seconds')
    return (await metric?.get())?.values[0]?.value
  }
  await platform.without('policy', () => expect.poll(age).toBeGreaterThan(1))
  await expect.poll(age).toBeLessThan(1)
})

/** A connection that is open, and the code that it was closed by. */
async function connected(subject: string) {
  const closed: { code: number | null } = { code: null }
  const opened = Promise.withResolvers<void>()
  const client = gateway.connect(
    { authorization: `Bearer ${await platform.issuer.token(subject)}` },
    {
      connected: () => opened.resolve(),
      closed: (event) => {
        closed.code = (event as { code: number }).code
      },
    },
  )
  const sink = { next: () => undefined, error: () => undefined, complete: () => undefined }
  client.subscribe({ query: 'subscription { inbox { cursor } }' }, sink)
  await opened.promise
  return Object.assign(closed, { client })
}
