import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { violations } from './invariants.ts'
import { expectWhole, mainJob } from './main-job.ts'
import * as story from './story.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

let berth: TestPlatform
beforeAll(async () => {
  berth = await openTestPlatform()
})
afterAll(() => berth?.stop())

test('offers → create → RUNNING → SSH and terminal → billed → released, all of it told live', async () => {
  const graph = await berth.graph('user')
  expectWhole(await mainJob(graph))
  await vi.waitFor(async () => expect(await violations(berth.sql)).toEqual([]), 20_000)
})

test('what is another organization’s is not found, and nobody is a stranger', async () => {
  const [user, stranger, nobody] = await Promise.all([
    berth.graph('user'),
    berth.graph('operator'),
    berth.graph(null),
  ])
  const { allocations } = await user.get<{ allocations: { nodes: { id: string }[] } }>(
    '{ allocations { nodes { id } } }',
  )
  const id = allocations.nodes[0]?.id
  const read = 'query Read($id: ID!) { allocation(id: $id) { id } }'
  expect((await stranger.ask(read, { id })).data).toEqual({ allocation: null })
  expect((await nobody.ask(read, { id })).errors[0]?.extensions?.code).toBe('UNAUTHENTICATED')
  expect((await nobody.ask('{ offers { nodes { available } } }')).errors).toEqual([])
})

test('the same create again is the same allocation; another under its key is refused', async () => {
  const graph = await berth.graph('user')
  const key = `"${crypto.randomUUID()}"`
  const input = { name: 'once', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => graph.ask<never>(story.CREATE, { input }, key)),
  )
  const codes = answers.flatMap((it) => it.errors.map((error) => error.extensions?.code))
  expect(codes.filter((it) => it !== 'IDEMPOTENCY_IN_FLIGHT')).toEqual([])
  const { id } = await vi.waitFor(() => story.createAllocation(graph, input, key), 20_000)
  const other = await graph.ask(story.CREATE, { input: { ...input, gpuCount: 2 } }, key)
  expect(other.errors[0]?.extensions?.code).toBe('IDEMPOTENCY_MISMATCH')
  expect(other.errors[0]?.extensions?.requestId).toBeTruthy()
  await story.releaseAllocation(graph, id)
})
