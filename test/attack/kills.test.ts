import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { violations } from '../scenario/invariants.ts'
import { expectWhole, mainJob } from '../scenario/main-job.ts'
import { openTestPlatform, type TestPlatform } from '../scenario/test-platform.ts'

const victims = [
  'gateway',
  'allocations',
  'billing',
  'policy',
  'inventory',
  'notifications',
  'terminal',
  'postgres',
  'redis',
  'nats',
  'development-node',
]
const steps = ['signed in', 'created', 'running', 'used', 'billed', 'releasing']

let berth: TestPlatform
beforeAll(async () => {
  berth = await openTestPlatform()
})
afterAll(() => berth?.stop())

test.each(victims.flatMap((victim) => steps.map((step) => ({ victim, step }))))(
  '$victim is killed at: $step',
  async ({ victim, step }) => {
    const graph = await berth.graph('user')
    const outcome = await mainJob(graph, async (at) => {
      if (at === step) berth.platform.kill(victim, 'SIGKILL')
    })
    expectWhole(outcome)
    await vi.waitFor(async () => expect(await violations(berth.sql)).toEqual([]), 30_000)
  },
)
