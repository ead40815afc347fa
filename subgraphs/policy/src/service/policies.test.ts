import { fakeClock } from '@berth/platform/clock'
import { newId } from '@berth/platform/ids'
import { createPolicyClient } from '@berth/platform/policy-client'
import { createHints, openRedis, policyInvalidateChannel } from '@berth/platform/pubsub'
import { readPolicies } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { seedId } from '../seed.ts'
import { writeDefault } from '../store/policies.ts'
import { actors, startPolicy } from '../test-policy.ts'

const scope = new AsyncDisposableStack()
const KEY = 'ratelimit.query'
const organizationId = seedId('org', 'Development')
let policy: Awaited<ReturnType<typeof startPolicy>>
let value: { perMinute: number; burst: number }

beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())
beforeEach(() => {
  value = { perMinute: 1 + Math.floor(Math.random() * 1_000_000), burst: 7 }
})

const set = (change: object = {}) =>
  policy.policies.set(actors.operator, { key: KEY, organizationId: null, value, ...change })

/** As another process has it: its own connections, asking over HTTP. */
function clientOf(service: string, hear: boolean, clock = fakeClock()) {
  const redis = scope.adopt(openRedis(policy.config.REDIS_URL, policy.log), (it) => it.disconnect())
  const hints = scope.adopt(createHints(redis, policy.log), (it) => it.close())
  const deaf = { subscribe: () => () => undefined }
  const commands = policy.commandsOf(service)
  const call = vi.spyOn(commands, 'call')
  const client = scope.use(
    createPolicyClient({
      read: (input, by) => commands.call(readPolicies, input, by),
      hints: hear ? hints : deaf,
      log: policy.log,
      clock,
      maxAgeSeconds: 2,
    }),
  )
  return { client, call, clock, hints }
}

test('a change is seen in another process at once, though its clock stands still', async () => {
  const { client, call, hints } = clientOf('allocations', true)
  const subscribed = vi.fn()
  scope.defer(hints.subscribe(policyInvalidateChannel('*'), subscribed))
  await vi.waitFor(() => expect(subscribed).toHaveBeenCalled())
  await client.value(KEY)
  await client.value(KEY)
  expect(call, 'the value is held').toHaveBeenCalledOnce()
  await set()
  await expect.poll(() => client.value(KEY), { interval: 5, timeout: 1_000 }).toEqual(value)
})

test('a change whose message was lost is seen when what is held is 2 s old', async () => {
  const { client, clock } = clientOf('billing', false)
  const before = await client.value(KEY)
  await set()
  clock.advance(1.9)
  expect(await client.value(KEY)).toEqual(before)
  clock.advance(0.2)
  expect(await client.value(KEY)).toEqual(value)
})

test('whoever is told of a change, and looks at once, finds it', async () => {
  const { hints } = clientOf('inventory', true)
  const found: { told: string; version: number | undefined }[] = []
  const subscribed = vi.fn()
  const look = async (told: string) => {
    const { values } = await policy.policies.read({ keys: [KEY] })
    found.push({ told, version: values[0]?.version })
  }
  scope.defer(
    hints.subscribe(policyInvalidateChannel(KEY), (told) => {
      if (told === null) subscribed()
      else void look(told)
    }),
  )
  await vi.waitFor(() => expect(subscribed).toHaveBeenCalled())
  const { version } = await set()
  await vi.waitFor(() => expect(found).toEqual([{ told: String(version), version }]))
})

test('an organization’s own value holds there, and nowhere else', async () => {
  const { client } = clientOf('gateway', true)
  await set()
  const own = { perMinute: 3, burst: 1 }
  await set({ organizationId, value: own })
  expect(await client.value(KEY, { organizationId })).toEqual(own)
  expect(await client.value(KEY, { organizationId: newId('org') })).toEqual(value)
  expect(await client.value(KEY)).toEqual(value)
})

test('of twenty changes at once each has its version, and its line in the audit', async () => {
  const { version: before } = await set()
  const versions = await Promise.all(Array.from({ length: 20 }, () => set()))
  const sorted = versions.map(({ version }) => version).sort((a, b) => a - b)
  expect(sorted).toEqual(Array.from({ length: 20 }, (_, i) => before + 1 + i))
  const [row] = await policy.database.sql.query<{ lines: bigint }>(
    `SELECT count(*) AS lines FROM audit_events
     WHERE action = 'policy.set' AND target = $1 AND (facts->>'version')::int > $2::int AND organization_id IS NULL`,
    [KEY, before],
  )
  expect(row?.lines).toBe(20n)
})

test('what is refused changes nothing', async () => {
  await set()
  const refuse = async (promise: Promise<unknown>, code: string) =>
    expect(promise).rejects.toMatchObject({ code })
  await refuse(
    policy.policies.set(actors.admin, { key: KEY, organizationId: null, value: { ...value } }),
    'FORBIDDEN',
  )
  await refuse(set({ value: { perMinute: -1, burst: 1 } }), 'BAD_INPUT')
  await refuse(set({ key: 'authz.roles', organizationId, value: {} }), 'BAD_INPUT')
  await refuse(set({ organizationId: newId('org') }), 'NOT_FOUND')
  expect(await clientOf('terminal', true).client.value(KEY)).toEqual(value)
})

test('a new release’s built-in value replaces an old one, and never what somebody set', async () => {
  const { sql } = policy.database
  const other = 'ratelimit.terminal'
  expect(await writeDefault(sql, other, { perMinute: 1, burst: 1 }, 1)).toBeNull()
  expect(await writeDefault(sql, other, { perMinute: 2, burst: 2 }, 2)).toBe(2n)
  await policy.policies.ensureDefaults()
  const { client } = clientOf('notifications', true)
  expect(await client.value(other), 'an older replica changes nothing back').toEqual({
    perMinute: 2,
    burst: 2,
  })
  await set({ key: other })
  expect(await writeDefault(sql, other, { perMinute: 3, burst: 3 }, 3)).toBeNull()
})
