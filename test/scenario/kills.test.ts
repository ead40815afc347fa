import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { violations } from './invariants.ts'
import { expectWhole, mainJob } from './main-job.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

let berth: TestPlatform
beforeAll(async () => {
  berth = await openTestPlatform()
})
afterAll(() => berth?.stop())

/** Each step of the main job, and what dies there. `npm run attack` kills everything everywhere. */
const rounds: Record<string, string>[] = [
  { created: 'allocations', running: 'notifications', used: 'billing', releasing: 'inventory' },
  { created: 'gateway', running: 'development-node', used: 'terminal', releasing: 'nats' },
  { created: 'nats', running: 'redis', used: 'policy', releasing: 'postgres' },
]

test.each(rounds)(
  'nothing is lost and nothing doubled when one after the other is killed: %o',
  async (round) => {
    const graph = await berth.graph('user')
    const outcome = await mainJob(graph, async (step) => {
      const victim = round[step]
      if (victim) berth.platform.kill(victim, 'SIGKILL')
    })
    expectWhole(outcome)
    await vi.waitFor(async () => expect(await violations(berth.sql)).toEqual([]), 30_000)
  },
)
