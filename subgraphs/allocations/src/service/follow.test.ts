import { narrow } from '@berth/platform/actor'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { create, RELEASE, stateOf, UPDATES } from '../testing/documents.ts'
import { type Installation, install, memberOf } from '../testing/service.ts'

const LIFE = ['REQUESTED', 'RESERVED', 'PROVISIONING', 'STARTING', 'RUNNING']

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

describe('allocationUpdated', () => {
  test('tells every change once, in order, of this organization alone, and resumes exactly', async () => {
    it.neighbours.addNode(4)
    const actor = memberOf()
    // As the gateway shares it: without a person.
    const live = await service.subscribe(narrow(actor, 'ORGANIZATION'), UPDATES)
    const strangers = await service.subscribe(memberOf(), UPDATES)
    // It starts with the next change: the first one must not come before it is open.
    const first = await createUntilHeard(actor, live)
    await expect
      .poll(() => statesOf(live, first), { timeout: 10_000 })
      .toEqual(['REQUESTED', 'RESERVED', 'PROVISIONING', 'STARTING', 'RUNNING'])
    const cursor = live.received.at(-1)?.data.allocationUpdated.cursor
    live.close()

    await service.ask(actor, RELEASE, { id: first })
    const second = await create(service, actor)
    await expect.poll(() => stateOf(service, actor, second)).toBe('RUNNING')
    const resumed = await service.subscribe(actor, UPDATES, { after: cursor })
    const only = await service.subscribe(actor, UPDATES, { after: cursor, id: second })
    await expect.poll(() => statesOf(resumed, second), { timeout: 10_000 }).toHaveLength(5)
    await expect.poll(() => statesOf(resumed, first)).toEqual(['RELEASING', 'RELEASED'])
    await expect.poll(() => statesOf(only, second)).toHaveLength(5)
    expect(statesOf(only, first)).toEqual([])
    const ids = resumed.received.map(({ data }) => data.allocationUpdated.event.id)
    expect(new Set(ids).size).toBe(ids.length)
    // The allocation is shown as it is now, not as it was.
    for (const { data } of resumed.received) {
      const { allocation } = data.allocationUpdated
      expect(['RUNNING', 'RELEASED', 'RELEASING']).toContain(allocation.state)
    }
    expect(strangers.received).toEqual([])
    expect(strangers.errors).toEqual([])
    for (const stream of [resumed, only, strangers]) stream.close()

    const thief = await service.subscribe(memberOf(), UPDATES, { after: cursor })
    await expect.poll(() => thief.errors[0]?.extensions.code).toBe('BAD_INPUT')
    thief.close()
  })

  test('goes on from where a page was read, with nothing in between', async () => {
    it.neighbours.addNode(4)
    const actor = memberOf()
    const page = await service.ask(actor, 'query { allocations { streamCursor } }')
    const { streamCursor } = page.data.allocations
    const id = await create(service, actor)
    await expect.poll(() => stateOf(service, actor, id)).toBe('RUNNING')
    const live = await service.subscribe(actor, UPDATES, { after: streamCursor })
    await expect.poll(() => statesOf(live, id), { timeout: 10_000 }).toEqual(LIFE)
    live.close()
  })

  test('an empty cursor or id is refused, and does not mean all from now on', async () => {
    for (const variables of [{ after: '' }, { id: '' }]) {
      const stream = await service.subscribe(memberOf(), UPDATES, variables)
      await expect.poll(() => stream.errors[0]?.extensions.code).toBe('BAD_INPUT')
      stream.close()
    }
  })

  test('a cursor older than what is kept is told so', async () => {
    it.neighbours.addNode(4)
    const actor = memberOf()
    const live = await service.subscribe(actor, UPDATES)
    await createUntilHeard(actor, live)
    const { cursor } = live.received[0]?.data.allocationUpdated ?? {}
    live.close()
    await expect
      .poll(async () => {
        await it.admin.query('DELETE FROM outbox WHERE published_at IS NOT NULL')
        return it.admin.query('SELECT 1 FROM outbox LIMIT 1')
      })
      .toEqual([])
    const late = await service.subscribe(actor, UPDATES, { after: cursor })
    await expect.poll(() => late.errors[0]?.extensions.code).toBe('STREAM_RESET')
    late.close()
  })

  test('two replicas work side by side: each change is told once, wherever it was made', async () => {
    await using second = new AsyncDisposableStack()
    const replica = await it.open(second)
    it.neighbours.addNode(16)
    const actor = memberOf()
    const [here, there] = [
      await service.subscribe(actor, UPDATES),
      await replica.subscribe(actor, UPDATES),
    ]
    const first = await createUntilHeard(actor, here)
    const ids = await Promise.all(
      Array.from({ length: 10 }, (_, i) => create(i % 2 ? service : replica, actor)),
    )
    for (const id of ids) {
      await expect.poll(() => statesOf(there, id), { timeout: 10_000 }).toEqual(LIFE)
      await expect.poll(() => statesOf(here, id), { timeout: 10_000 }).toEqual(LIFE)
    }
    const order = (stream: Stream) =>
      stream.received.map(({ data }) => data.allocationUpdated.event.id)
    // What one of them was told before the other was open aside, both tell the same story.
    const shared = order(here).filter((id) => order(there).includes(id))
    expect(order(there).filter((id) => order(here).includes(id))).toEqual(shared)
    expect(statesOf(here, first)).toEqual(LIFE)
    here.close()
    there.close()
  })

  type Stream = Awaited<ReturnType<typeof service.subscribe>>

  function statesOf({ received }: Stream, id: string): string[] {
    return received
      .map(({ data }) => data.allocationUpdated)
      .filter((update) => update.allocation.id === id)
      .map((update) => update.event.state)
  }

  /** An allocation whose first event is in the stream. */
  async function createUntilHeard(
    actor: ReturnType<typeof memberOf>,
    stream: Stream,
  ): Promise<string> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const id = await create(service, actor)
      await expect.poll(() => stateOf(service, actor, id)).toBe('RUNNING')
      await expect.poll(() => statesOf(stream, id).length, { timeout: 10_000 }).toBeGreaterThan(0)
      if (statesOf(stream, id)[0] === 'REQUESTED') return id
      await service.ask(actor, RELEASE, { id })
    }
    throw new Error('the stream did not open')
  }
})
