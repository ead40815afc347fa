import { createMetrics } from '@berth/platform/metrics'
import { createPolicyClient } from '@berth/platform/policy-client'
import { createHints, openRedis, policyInvalidateChannel } from '@berth/platform/pubsub'
import { createRevocations } from '@berth/platform/revocations'
import { policyByCommand } from '@berth/schema/policy-source'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { DEFAULT_REVISION, policyKeys } from '../domain/policy-keys.ts'
import { seedId } from '../seed.ts'
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

async function versionOf(key: string, level: string): Promise<number> {
  const [row] = await policy.database.sql.query<{ version: bigint }>(
    'SELECT version FROM policy_values WHERE key = $1 AND level = $2',
    [key, level],
  )
  return Number(row?.version ?? 0)
}

/** As an operator does it who has just read it. */
async function set(change: { key?: string; organizationId?: string; value?: unknown } = {}) {
  const level = change.organizationId ? 'GRANT' : 'PLATFORM'
  const expectedVersion = await versionOf(change.key ?? KEY, level)
  return policy.policyChanges.set(
    { actor: actors.operator, idempotencyKey: null },
    { key: KEY, level, value, reason: 'a test', expectedVersion, ...change },
  )
}

/** As another process has it: its own connections, asking over HTTP. */
function clientOf(service: string, hear = true) {
  const redis = scope.adopt(openRedis(policy.config.REDIS_URL, policy.log), (it) => it.disconnect())
  const heard = scope.adopt(createHints(redis, policy.log), (it) => it.close())
  const hints = hear ? heard : { subscribe: () => () => undefined }
  const { log } = policy
  const metrics = createMetrics({ service })
  const source = policyByCommand(policy.commandsOf(service))
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics }),
  )
  const client = scope.use(createPolicyClient({ source, revocations, log, metrics }))
  return { client, hints: heard }
}

test('a change is seen in another process at once', async () => {
  const { client, hints } = clientOf('allocations')
  const subscribed = vi.fn()
  scope.defer(hints.subscribe(policyInvalidateChannel('*'), subscribed))
  await vi.waitFor(() => expect(subscribed).toHaveBeenCalled())
  await client.value(KEY)
  await set()
  await expect.poll(() => client.value(KEY), { interval: 5, timeout: 5_000 }).toEqual(value)
})

test('a change whose message was lost is seen all the same', async () => {
  const { client } = clientOf('billing', false)
  await client.value(KEY)
  await set()
  await expect.poll(() => client.value(KEY), { interval: 50, timeout: 15_000 }).toEqual(value)
})

test('whoever is told of a change, and looks at once, finds it', async () => {
  const { hints } = clientOf('inventory')
  const found: { told: string; value: unknown }[] = []
  const subscribed = vi.fn()
  const look = async (told: string) => {
    const { values } = await policy.policies.read({ keys: [KEY] })
    found.push({ told, value: values[0]?.value })
  }
  scope.defer(
    hints.subscribe(policyInvalidateChannel(KEY), (told) => {
      if (told === null) subscribed()
      else void look(told)
    }),
  )
  await vi.waitFor(() => expect(subscribed).toHaveBeenCalled())
  const { version } = await set()
  await vi.waitFor(() => expect(found).toEqual([{ told: String(version), value }]))
})

test('what is given to an organization holds there, and nowhere else', async () => {
  const { client } = clientOf('gateway')
  await set()
  const own = { perMinute: 3, burst: 1 }
  await set({ organizationId, value: own })
  expect(await client.value(KEY, { organizationId })).toEqual(own)
  expect(await client.value(KEY, { organizationId, userId: seedId('usr', 'user') })).toEqual(own)
  expect(await client.value(KEY, { organizationId: seedId('org', 'Operations') })).toEqual(value)
  expect(await client.value(KEY)).toEqual(value)
})

test('the version that is read rises with every change of what the value is made of', async () => {
  const read = async () => {
    const { values } = await policy.policies.read({ keys: [KEY], organizationId })
    return values[0]?.version ?? 0
  }
  for (const change of [{}, { organizationId }, {}, { organizationId }]) {
    const before = await read()
    await set(change)
    expect(await read()).toBe(before + 1)
  }
})

test('keys that there are not, and such as are asked for twice, do no harm', async () => {
  const { values } = await policy.policies.read({ keys: [KEY, 'no.such', KEY, '__proto__'] })
  expect(values.map((it) => it.key)).toEqual([KEY])
})

test('of twenty changes at once one wins, and the others are told which version there is', async () => {
  const expectedVersion = await versionOf(KEY, 'PLATFORM')
  const asked = { actor: actors.operator, idempotencyKey: null }
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) =>
      policy.policyChanges.set(asked, {
        key: KEY,
        level: 'PLATFORM',
        value: { ...value, burst: i + 1 },
        reason: 'first come',
        expectedVersion,
      }),
    ),
  )
  const won = results.filter((it) => it.status === 'fulfilled')
  expect(won).toHaveLength(1)
  for (const it of results.filter((result) => result.status === 'rejected')) {
    expect(it.reason).toMatchObject({
      code: 'CONFLICT',
      extensions: { currentVersion: expectedVersion + 1 },
    })
  }
  const [row] = await policy.database.sql.query<{ lines: bigint }>(
    `SELECT count(*) AS lines FROM audit_events
     WHERE action = 'policy.set' AND target = $1 AND (facts->>'version')::int > $2::int AND organization_id IS NULL`,
    [KEY, expectedVersion],
  )
  expect(row?.lines).toBe(1n)
})

test('a new release’s built-in value replaces an old one, and never what somebody set', async () => {
  const { sql } = policy.owner
  const key = 'ratelimit.terminal'
  const initial = policyKeys.get(key)?.initial
  const read = async () => (await policy.policies.read({ keys: [key] })).values[0]?.value
  const asRevision = async (revision: number, old: object) => {
    await policy.owner.sqlTransaction(async (within) => {
      const [row] = await within.query<{ id: string; version: bigint }>(
        `UPDATE policy_values SET value = $2::jsonb, default_revision = $3::int, version = version + 1
         WHERE key = $1 AND level = 'PLATFORM' RETURNING id, version`,
        [key, JSON.stringify(old), revision],
      )
      await within.query(
        `INSERT INTO policy_changes (setting_id, version, value, actor, reason)
         VALUES ($1::uuid, $2, $3::jsonb, '{}', 'a test')`,
        [row?.id, row?.version, JSON.stringify(old)],
      )
    })
  }
  await asRevision(DEFAULT_REVISION - 1, { perMinute: 1, burst: 1 })
  await Promise.all([policy.policies.ensureDefaults(), policy.policies.ensureDefaults()])
  expect(await read()).toEqual(initial)
  await asRevision(DEFAULT_REVISION + 1, { perMinute: 2, burst: 2 })
  await policy.policies.ensureDefaults()
  expect(await read(), 'an older replica changes nothing back').toEqual({ perMinute: 2, burst: 2 })
  await set({ key })
  await policy.policies.ensureDefaults()
  expect(await read()).toEqual(value)
  const history = await sql.query<{ version: bigint }>(
    `SELECT c.version FROM policy_changes c JOIN policy_values v ON v.id = c.setting_id
     WHERE v.key = $1 ORDER BY c.version`,
    [key],
  )
  expect(history.map(({ version }) => version)).toEqual([1n, 2n, 3n, 4n, 5n])
})
