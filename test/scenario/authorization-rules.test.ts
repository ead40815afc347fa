import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { GraphClient } from '../graph-client.ts'
import * as story from './story.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

let berth: TestPlatform
let owner: GraphClient
let member: GraphClient
beforeAll(async () => {
  berth = await openTestPlatform()
  owner = await berth.graph('admin')
  member = await berth.graph('user')
})
afterAll(() => berth?.stop())

const input = { name: 'ruled', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }

async function setRules(by: GraphClient, level: string, value: string): Promise<void> {
  const { policy } = await by.get<{ policy: { settings: { level: string; version: number }[] } }>(
    '{ policy(key: "authz.rules") { settings { level version } } }',
  )
  const expectedVersion = policy.settings.find((it) => it.level === level)?.version ?? 0
  const change = { key: 'authz.rules', level, value, expectedVersion, reason: 'a test of rules' }
  await by.get(
    'mutation Set($input: PolicySetInput!) { policySet(input: $input) { __typename } }',
    {
      input: change,
    },
  )
}

async function creates(gpuCount: number): Promise<string> {
  const key = `"${crypto.randomUUID()}"`
  const answer = await member.ask<{ allocationCreate: { allocation: { id: string } } }>(
    story.CREATE,
    { input: { ...input, gpuCount } },
    key,
  )
  const [error] = answer.errors
  if (error) return String(error.extensions?.code)
  const { id } = answer.data!.allocationCreate.allocation
  await story.releaseAllocation(member, id)
  return 'created'
}

test('an organization caps the GPUs of an allocation for its members: two are refused, one is not', async () => {
  await setRules(
    owner,
    'ORGANIZATION',
    `forbid(principal, action == Action::"allocation:create", resource)
       when { context.gpuCount > 1 };`,
  )
  // Until the change has reached the service that is asked.
  await vi.waitFor(async () => expect(await creates(2)).toBe('FORBIDDEN'), 60_000)
  await vi.waitFor(async () => expect(await creates(1)).toBe('created'), 60_000)
  await setRules(owner, 'ORGANIZATION', '')
})

test('the platform freezes new allocations, and no organization thaws them', async () => {
  const operator = await berth.graph('operator')
  await setRules(owner, 'ORGANIZATION', 'permit(principal, action, resource);')
  await setRules(
    operator,
    'PLATFORM',
    'forbid(principal, action == Action::"allocation:create", resource);',
  )
  await vi.waitFor(async () => expect(await creates(1)).toBe('FORBIDDEN'), 60_000)
  await setRules(operator, 'PLATFORM', '')
  await vi.waitFor(async () => expect(await creates(1)).toBe('created'), 60_000)
})
