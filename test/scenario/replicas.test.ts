import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { violations } from './invariants.ts'
import { expectWhole, mainJob } from './main-job.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

const services = [
  'gateway',
  'terminal',
  'allocations',
  'billing',
  'policy',
  'inventory',
  'notifications',
]

let berth: TestPlatform
beforeAll(async () => {
  berth = await openTestPlatform(Object.fromEntries(services.map((it) => [it, 2])))
})
afterAll(() => berth?.stop())

test.each(['gateway', 'gateway-2'])(
  'two replicas of every service do the main job, through %s',
  async (gateway) => {
    const graph = await berth.graph('user', gateway)
    expectWhole(await mainJob(graph))
    await vi.waitFor(async () => expect(await violations(berth.sql)).toEqual([]), 30_000)
  },
)

test('with one replica of each subgraph dead, the main job is done by the others', async () => {
  const graph = await berth.graph('user')
  for (const it of services.slice(2)) await berth.platform.down(it)
  expectWhole(await mainJob(graph))
  await vi.waitFor(async () => expect(await violations(berth.sql)).toEqual([]), 30_000)
})
