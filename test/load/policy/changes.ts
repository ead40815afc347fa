import { newUuid } from '@berth/platform/ids'
import type { GraphClient } from '../../graph-client.ts'
import type { TestPlatform } from '../../scenario/test-platform.ts'
import { percentile } from '../statistics.ts'
import { createProbes, type Probe } from './probes.ts'

/** From a moment until every process of a kind decided by the new value, in milliseconds. */
export type Delays = { readonly p50: number; readonly p99: number; readonly most: number }

export type Changes = {
  readonly changes: number
  /** From when the admin was answered, and from when they asked. */
  readonly answered: Delays
  readonly asked: Delays
}

/** Where a change is seen: the gateways' rates, or the subgraphs' rules. */
type Kind = {
  readonly key: string
  readonly values: readonly [unknown, unknown]
  readonly probes: readonly Probe[]
}

const WAIT_MS = 20_000
const GENEROUS = { perMinute: 1_000_000, burst: 100_000 }
const MEAN = { perMinute: 1, burst: 1 }
const SET = `mutation ($input: PolicySetInput!) { policySet(input: $input) { version } }`

/** Changes policies in turns, as an operator does, and waits each time until all have it. */
export async function createChanges(platform: TestPlatform) {
  const operator = await platform.graph('operator')
  const roles = await settingOf(platform, 'authz.roles')
  const { gateways, subgraphs, close } = await createProbes(platform.platform)
  await set(platform, operator, 'ratelimit.mutation', GENEROUS)
  const kinds: readonly Kind[] = [
    { key: 'ratelimit.query', values: [MEAN, GENEROUS], probes: gateways },
    {
      key: 'authz.roles',
      values: [
        { ...roles, viewer: [] },
        { ...roles, viewer: ['inbox:read'] },
      ],
      probes: subgraphs,
    },
  ]
  // So that the first counted change is one.
  for (const { key, values, probes } of kinds) {
    await set(platform, operator, key, values[1])
    for (const probe of probes) await until(probe, true)
  }
  return { measure, close }

  /** Of every process, each change counts. */
  async function measure(changes: number): Promise<Changes> {
    const answered: number[] = []
    const asked: number[] = []
    for (let change = 0; change < changes; change++) {
      for (const { key, values, probes } of kinds) {
        const isGranted = change % 2 === 1
        const askedAt = performance.now()
        const answering = set(platform, operator, key, values[isGranted ? 1 : 0])
        const seeing = probes.map((probe) => until(probe, isGranted))
        const answeredAt = await answering
        for (const seenAt of await Promise.all(seeing)) {
          answered.push(Math.max(0, seenAt - answeredAt))
          asked.push(seenAt - askedAt)
        }
      }
    }
    return { changes: answered.length, answered: delaysOf(answered), asked: delaysOf(asked) }
  }
}

/** @returns when it was answered */
async function set(
  platform: TestPlatform,
  operator: GraphClient,
  key: string,
  value: unknown,
): Promise<number> {
  const [current] = await platform.sql<{ version: string }>(
    `SELECT version FROM policy.policy_values WHERE key = $1 AND level = 'PLATFORM'`,
    [key],
  )
  const expectedVersion = Number(current?.version ?? 0)
  const input = { key, level: 'PLATFORM', value, reason: 'Bench', expectedVersion }
  await operator.get(SET, { input }, newUuid())
  return performance.now()
}

async function settingOf(platform: TestPlatform, key: string): Promise<Record<string, unknown>> {
  const [row] = await platform.sql<{ value: Record<string, unknown> }>(
    `SELECT value FROM policy.policy_values WHERE key = $1 AND level = 'PLATFORM'`,
    [key],
  )
  if (!row) throw new Error(`${key} has no value`)
  return row.value
}

/** @returns when it first decided so */
async function until(probe: Probe, isGranted: boolean): Promise<number> {
  const deadline = performance.now() + WAIT_MS
  while (performance.now() < deadline) {
    const decided = await probe.decides()
    const now = performance.now()
    if (decided === isGranted) return now
    await new Promise((later) => setTimeout(later, 1))
  }
  throw new Error(`${probe.name} did not take the change up`)
}

function delaysOf(delays: readonly number[]): Delays {
  return {
    p50: percentile(delays, 0.5),
    p99: percentile(delays, 0.99),
    most: Math.max(...delays),
  }
}
