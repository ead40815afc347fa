import { DomainError } from '@berth/platform/errors'
import { print } from 'graphql'
import { afterEach, expect, test, vi } from 'vitest'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import {
  memoryOwner,
  ORG,
  OTHER_ORG,
  openTestHub,
  person,
  standing,
  type TestClient,
} from './memory-owner.test-kit.ts'
import { storm } from './storm.test-kit.ts'

const UPDATES = `subscription ($after: String) {
  allocationUpdated(after: $after) { event { sequence } allocation { id cost { amount } } }
}`
const LESS =
  'subscription ($after: String) { allocationUpdated(after: $after) { event { sequence } } }'
const INBOX = 'subscription ($after: String) { inbox(after: $after) { counts { unseen } } }'
const TICKS = 'subscription { ticks { number } }'
const hubs: { close(): void }[] = []
afterEach(() => {
  for (const hub of hubs.splice(0)) hub.close()
})

test('those who may share do: one upstream without a subject, one hydration of each event', async () => {
  const { owner, it, join } = open()
  const clients = [join(UPDATES, 1), join(UPDATES, 2), join(UPDATES, 3)]
  await served(owner, 1)
  owner.publish(40)
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([upTo(40), upTo(40), upTo(40)]))
  expect(owner.opened).toHaveLength(1)
  expect(owner.opened[0]?.claims).toMatchObject({ authority: 'ORGANIZATION', org: ORG })
  expect(owner.opened[0]?.claims).not.toHaveProperty('sub')
  expect(it.hydrated).toHaveLength(40)
  expect(it.hydrated[0]?.context.actor.authority).toBe('ORGANIZATION')
  expect(await it.metric('berth_stream_hydrations_total')).toBe(40)
  for (const client of clients) client.close()
  expect(owner.openCount).toBe(0)
  expect(await it.metric('berth_stream_groups')).toBe(0)
  expect(await it.metric('berth_stream_members')).toBe(0)
})

test('whoever must not be answered alike never shares: organization, roles, person', async () => {
  const { owner, it, join } = open()
  const clients = [
    join(UPDATES, 1),
    join(UPDATES, 2, { roles: ['owner'] }),
    join(UPDATES, 3, { org: OTHER_ORG }),
  ]
  const inboxes = [join(INBOX, 1), join(INBOX, 1)]
  await served(owner, 5)
  owner.publish(10)
  owner.publish(5, OTHER_ORG)
  await until(() => expect(clients.map((c) => c.texts.length)).toEqual([10, 10, 5]))
  await until(() => expect(inboxes.map((c) => c.texts.length)).toEqual([10, 10]))
  const told = clients.map((c) => new Set(c.texts.map((text) => JSON.parse(text).data.by)))
  expect(told.map((by) => by.size)).toEqual([1, 1, 1])
  expect(new Set(told.flatMap((by) => [...by])).size).toBe(3)
  expect(owner.opened).toHaveLength(5)
  expect(it.hydrated).toHaveLength(10 + 10 + 5 + 20)
})

test('the same asked of the owner is one upstream, though different things are made of it', async () => {
  const { owner, it, join } = open()
  const primary = 'allocation { id }'
  const one = join(`subscription { allocationUpdated { ${primary} } }`, 1)
  const same = join(`subscription Named { allocationUpdated { ${primary} } }`, 2)
  await served(owner, 1)
  owner.publish(3)
  await until(() => expect([one.numbers, same.numbers]).toEqual([upTo(3), upTo(3)]))
  const upstreams = new Set(owner.opened.map((o) => o.query)).size
  expect(owner.opened).toHaveLength(upstreams)
  expect(it.hydrated).toHaveLength(6)
})

test('a group whose hydration is slow holds up no other that shares its upstream, and loses nothing', async () => {
  const { owner, it, join } = open({ limits: { maxQueued: 20 } })
  const query = (alias: string) => `subscription {
    allocationUpdated { allocation { id cost { ${alias}: amount } } }
  }`
  const mayGoOn = Promise.withResolvers<void>()
  const { hydrate } = it.executor()
  vi.spyOn(it.executor(), 'hydrate').mockImplementation(async (event, of) => {
    if (print(of.definition).includes('slow')) await mayGoOn.promise
    return hydrate(event, of)
  })
  const fast = join(query('fast'), 1)
  const slow = join(query('slow'), 2)
  await served(owner, 1)
  expect(owner.opened).toHaveLength(1)
  // No faster than the fast one is.
  for (let n = 1; n <= 200; n++) {
    owner.publish(10)
    await until(() => expect(fast.texts).toHaveLength(10 * n))
  }
  expect(fast.numbers).toEqual(upTo(2_000))
  // It is left where it is, and not opened again before there is room.
  expect([slow.texts.length, owner.opened.length, owner.openCount]).toEqual([0, 1, 1])
  // Who comes now is held up by it as little.
  const third = join(query('third'), 3)
  await turn()
  owner.publish(10)
  await until(() => expect(third.numbers).toEqual(upTo(2_010).slice(2_000)))

  mayGoOn.resolve()
  await until(() => expect(slow.texts).toHaveLength(2_010))
  expect(slow.numbers).toEqual(upTo(2_010))
  // Where it has come to what is shared, it has no upstream of its own any more.
  await until(() => {
    owner.publish()
    expect(owner.openCount).toBe(1)
  })
  // Nor if each had to leave.
  owner.publish(500)
  await until(() => {
    owner.publish()
    expect(owner.openCount).toBe(1)
  })
  await until(() => {
    const { numbers } = fast
    expect(numbers.length).toBeGreaterThan(2_511)
    expect([numbers, slow.numbers]).toEqual([upTo(numbers.length), upTo(numbers.length)])
    expect(third.numbers).toEqual(numbers.slice(2_000))
  })
  expect([fast, slow, third].flatMap((c) => c.endings)).toEqual([])
  for (const client of [fast, slow, third]) client.close()
  expect(owner.openCount).toBe(0)
})

test('a group that is alone is left at its position while its hydration does not keep up', async () => {
  const { owner, it, join } = open({ limits: { maxQueued: 8 } })
  const mayGoOn = Promise.withResolvers<void>()
  const { hydrate } = it.executor()
  vi.spyOn(it.executor(), 'hydrate').mockImplementation(async (event, of) => {
    await mayGoOn.promise
    return hydrate(event, of)
  })
  const client = join(INBOX, 1)
  await served(owner, 1)
  owner.publish(100)
  await until(() => expect(owner.openCount).toBe(0))
  owner.cut()
  it.concern({ kind: 'policy', id: '*' })
  mayGoOn.resolve()
  await until(() => expect(client.numbers).toEqual(upTo(100)))
  client.close()
  expect(owner.openCount).toBe(0)
})

test('the variables of an operation are part of what is shared, where it begins is not', async () => {
  const { owner, join } = open()
  const query = `subscription ($id: ID, $after: String) {
    allocationUpdated(allocationId: $id, after: $after) { event { sequence } }
  }`
  owner.publish(5)
  join(query, 1, { variables: { id: 'a' } })
  join(query, 2, { variables: { id: 'b' } })
  join(query, 3, { variables: { id: 'a' }, after: 'c5' })
  await served(owner, 2)
  await until(() => expect(owner.openCount).toBe(2))
})

test('also a variable that only what is added to events depends on', async () => {
  const { owner, it, join } = open()
  const query = `subscription ($cost: Boolean!) {
    allocationUpdated { allocation { id cost @include(if: $cost) { amount } } }
  }`
  const clients = [true, false, true].map((cost, n) => join(query, n, { variables: { cost } }))
  await served(owner, 1)
  owner.publish(2)
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([upTo(2), upTo(2), upTo(2)]))
  expect(it.hydrated.map((h) => h.variables.cost).sort()).toEqual([false, false, true, true])
})

test.each([0, 3, 9, 10])(
  'a backlog after %i is read alone and spliced into what is shared',
  async (from) => {
    const { owner, it, join } = open()
    const first = join(UPDATES, 1)
    await served(owner, 1)
    owner.publish(10)
    await until(() => expect(first.texts).toHaveLength(10))
    const late = join(UPDATES, 2, { after: `c${from}` })
    await until(() => expect(late.numbers).toEqual(upTo(10).slice(from)))
    owner.publish(5)
    await until(() => expect(late.numbers).toEqual(upTo(15).slice(from)))
    expect(owner.openCount).toBe(1)
    expect(await it.metric('berth_stream_catch_ups')).toBe(0)
  },
)

test('one that is ahead of its group passes over what it has', async () => {
  const { owner, it, join } = open()
  owner.publish(20)
  const slow = Promise.withResolvers<void>()
  const first = join(UPDATES, 1, { after: 'c20' })
  await until(() => expect(it.hydrated).toHaveLength(0))
  await served(owner, 1)
  // The group's first events wait; the private reading of the same ones does not.
  const hold = vi.spyOn(it.executor(), 'hydrate').mockImplementationOnce(async (event) => {
    await slow.promise
    const [field] = Object.values(event.data ?? {}) as { n: number }[]
    return { dataText: JSON.stringify({ n: field?.n, by: '' }), errors: [] }
  })
  owner.publish(5)
  await until(() => expect(hold).toHaveBeenCalled())
  const late = join(UPDATES, 2, { after: 'c21' })
  await until(() => expect(late.numbers).toEqual([22, 23, 24, 25]))
  slow.resolve()
  await until(() => expect(first.numbers).toEqual([21, 22, 23, 24, 25]))
  owner.publish(2)
  await until(() => expect(late.numbers.at(-1)).toBe(27))
  expect(late.numbers).toEqual([22, 23, 24, 25, 26, 27])
  expect(owner.openCount).toBe(1)
})

test('one of fifty is in doubt, then refused: it gets nothing from then on, the others miss nothing', async () => {
  const { owner, it, join } = open()
  const clients = Array.from({ length: 50 }, (_, n) => join(UPDATES, n))
  const [victim] = clients as [TestClient]
  await served(owner, 1)
  for (let n = 0; n < 10; n++) {
    owner.publish(10)
    await turn()
  }
  victim.standing.set(null)
  const had = victim.texts.length
  owner.publish(100)
  const others = clients.slice(1)
  await until(() => expect(others.every((c) => c.texts.length === 200)).toBe(true))
  expect(victim.texts).toHaveLength(had)
  victim.standing.set(new DomainError('FORBIDDEN', 'Not any more'))
  expect(victim.endings).toMatchObject([{ code: 'FORBIDDEN' }])
  owner.publish(1)
  await until(() => expect(others.every((c) => c.texts.length === 201)).toBe(true))
  for (const client of others) expect(client.numbers).toEqual(upTo(201))
  expect(others.flatMap((c) => c.endings)).toEqual([])
  expect(victim.texts).toHaveLength(had)
  expect(owner.opened).toHaveLength(1)
  expect(it.hydrated).toHaveLength(201)
})

test('though nobody told: nothing goes to one who is in doubt at that moment', async () => {
  const { owner, join } = open()
  const one = join(UPDATES, 1)
  const other = join(UPDATES, 2)
  await served(owner, 1)
  owner.publish(2)
  await until(() => expect(one.texts).toHaveLength(2))
  one.standing.set(null, true)
  owner.publish(2)
  await until(() => expect(other.texts).toHaveLength(4))
  expect(one.texts).toHaveLength(2)
  one.standing.set(person(1))
  await until(() => expect(one.numbers).toEqual(upTo(4)))
})

test.each([
  ['that the ring still holds', 20],
  ['that are read alone, because the ring holds them no more', 300],
])('out of doubt it gets the events %s, each once', async (_what, count) => {
  const { owner, join } = open()
  const one = join(UPDATES, 1)
  const other = join(UPDATES, 2)
  await served(owner, 1)
  owner.publish(5)
  await until(() => expect(one.texts).toHaveLength(5))
  one.standing.set(null)
  owner.publish(count)
  await until(() => expect(other.texts).toHaveLength(5 + count))
  one.standing.set(person(1))
  owner.publish(5)
  await until(() => expect(one.numbers).toEqual(upTo(10 + count)))
})

test('with other roles it goes on in the group of those, from its position', async () => {
  const { owner, join } = open()
  const [one, other] = [join(UPDATES, 1), join(UPDATES, 2)]
  await served(owner, 1)
  owner.publish(5)
  await until(() => expect(one.texts).toHaveLength(5))
  one.standing.set(null)
  owner.publish(5)
  await until(() => expect(other.texts).toHaveLength(10))
  one.standing.set(person(1, { roles: ['owner'] }))
  owner.publish(5)
  await until(() => expect(one.numbers).toEqual(upTo(15)))
  const by = one.texts.map((text) => JSON.parse(JSON.parse(text).data.by).roles)
  expect(by.slice(0, 5)).toEqual(Array(5).fill(['member']))
  expect(by.slice(5)).toEqual(Array(10).fill(['owner']))
  expect(other.numbers).toEqual(upTo(15))
})

test('nobody opens anything who is refused or in doubt when they subscribe', async () => {
  const { owner, it, join } = open()
  const refused = standing(person(1))
  refused.set(new DomainError('UNAUTHENTICATED', 'Signed out'))
  expect(() => it.open(UPDATES, refused)).toThrow('Signed out')
  const doubtful = join(UPDATES, 1)
  doubtful.close()
  const later = standing(person(2))
  later.set(null)
  const waiting = it.open(UPDATES, later)
  await turn()
  const before = owner.opened.length
  await turn()
  expect(owner.opened).toHaveLength(before)
  later.set(person(2))
  await served(owner, 1)
  owner.publish(1)
  await until(() => expect(waiting.numbers).toEqual([1]))
})

test('when all are in doubt for long, nobody vouches for the upstream, and it is closed', async () => {
  const { owner, join } = open()
  const clients = [join(UPDATES, 1), join(UPDATES, 2)]
  await served(owner, 1)
  owner.publish(3)
  await until(() => expect(clients[1]?.texts).toHaveLength(3))
  for (const client of clients) client.standing.set(null)
  await until(() => expect(owner.openCount).toBe(0))
  owner.publish(300)
  for (const [n, client] of clients.entries()) client.standing.set(person(n + 1))
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([upTo(303), upTo(303)]))
  await until(() => expect(owner.openCount).toBe(1))
})

test('a backlog beyond retention is reset for who asked for it, and for nobody else', async () => {
  const { owner, join } = open()
  owner.publish(10)
  owner.forgetBefore(8)
  const one = join(UPDATES, 1)
  const late = join(UPDATES, 2, { after: 'c3' })
  await until(() => expect(late.endings).toMatchObject([{ code: 'STREAM_RESET' }]))
  owner.publish(1)
  await until(() => expect(one.numbers).toEqual([11]))
  expect(one.endings).toEqual([])
})

test('what the owner refuses, all who asked for it are told', async () => {
  const { owner, join } = open()
  owner.refuse('FORBIDDEN')
  const clients = [join(UPDATES, 1), join(UPDATES, 2)]
  await until(() => {
    for (const { endings } of clients) expect(endings).toMatchObject([{ code: 'FORBIDDEN' }])
  })
  owner.refuse(null)
  const next = join(UPDATES, 1)
  await served(owner, 1)
  owner.publish(1)
  await until(() => expect(next.numbers).toEqual([1]))
})

test('who subscribes while the owner is away is told so, those who are served wait on', async () => {
  const { owner, join } = open({ limits: { backoff: { baseMs: 5, maxMs: 20 } } })
  const old = join(UPDATES, 1)
  await served(owner, 1)
  owner.publish(1)
  await until(() => expect(old.texts).toHaveLength(1))
  owner.away(true)
  owner.cut()
  const fresh = join(UPDATES, 2)
  const resuming = join(UPDATES, 3, { after: 'c0' })
  await until(() => {
    expect(fresh.endings).toMatchObject([{ code: 'UPSTREAM_UNAVAILABLE' }])
  })
  owner.away(false)
  owner.publish(1)
  await until(() => expect(old.numbers).toEqual([1, 2]))
  expect(old.endings).toEqual([])
  // What the ring holds needs no owner.
  await until(() => expect([resuming.endings.length, resuming.texts.length]).not.toEqual([0, 0]))
})

test('only so many backlogs are read at once, and all are', async () => {
  const { owner, it, join } = open({ limits: { maxCatchUps: 3 } })
  owner.publish(200)
  let most = 0
  const clients = Array.from({ length: 30 }, (_, n) => join(UPDATES, n, { after: `c${n}` }))
  await until(async () => {
    most = Math.max(most, await it.metric('berth_stream_catch_ups'))
    expect(clients.every((c) => c.texts.length > 0 && c.numbers.at(-1) === 200)).toBe(true)
  })
  expect(most).toBeLessThanOrEqual(3)
  for (const [n, { numbers }] of clients.entries()) expect(numbers).toEqual(upTo(200).slice(n))
})

test('a backlog is told no faster than its client takes it, and holds up nobody', async () => {
  const { owner, join } = open({ limits: { maxCatchUps: 1 } })
  owner.publish(1_000)
  let room: PromiseWithResolvers<void> | null = null
  const stalled: TestClient = join(UPDATES, 1, {
    after: 'c0',
    room: () => {
      if (stalled && stalled.texts.length % 50 !== 0) return null
      room = Promise.withResolvers()
      return room.promise
    },
  })
  await until(() => expect(room).not.toBeNull())
  const other = join(UPDATES, 2, { after: 'c0' })
  await until(() => expect(other.texts).toHaveLength(1_000))
  expect(stalled.texts.length).toBeLessThanOrEqual(50)
  await until(() => {
    room?.resolve()
    expect(stalled.texts).toHaveLength(1_000)
  })
  expect(stalled.numbers).toEqual(upTo(1_000))
  owner.publish(1)
  await until(() => expect(stalled.numbers.at(-1)).toBe(1_001))
})

test('a client that lets go in the midst of a text gets nothing more', async () => {
  const { owner, join } = open()
  const clients = Array.from({ length: 3 }, (_, n) => join(UPDATES, n))
  const [first] = clients as [TestClient]
  first.next = () => {
    first.texts.push('{}')
    first.close()
  }
  await served(owner, 1)
  owner.publish(10)
  await until(() => expect(clients[2]?.texts).toHaveLength(10))
  expect(first.texts).toHaveLength(1)
})

test('what is one’s own begins where it is asked for, with one upstream', async () => {
  const { owner, join } = open()
  owner.publish(10)
  const one = join(INBOX, 1, { after: 'c4' })
  await until(() => expect(one.numbers).toEqual([5, 6, 7, 8, 9, 10]))
  expect(owner.opened).toMatchObject([{ after: 'c4', claims: { authority: 'PERSON' } }])
  one.standing.set(null)
  owner.publish(3)
  one.standing.set(person(1, { roles: ['owner'] }))
  await until(() => expect(one.numbers).toEqual(upTo(13).slice(4)))
  expect(owner.openCount).toBe(1)
  expect(owner.opened.at(-1)?.claims).toMatchObject({ roles: ['owner'] })
})

test('without positions it goes on with what comes then, and what was held meanwhile', async () => {
  const { owner, it, join } = open()
  const [one, other] = [join(TICKS, 1), join(TICKS, 2)]
  await served(owner, 1)
  owner.tick(1)
  await until(() => expect(one.numbers).toEqual([1]))
  one.standing.set(null)
  owner.tick(2)
  await until(() => expect(other.numbers).toEqual([1, 2]))
  one.standing.set(person(1))
  expect(one.numbers).toEqual([1, 2])
  one.standing.set(null)
  for (let n = 3; n <= 302; n++) {
    owner.tick(n)
    if (n % 20 === 0) await until(() => expect(other.numbers.at(-1)).toBe(n))
  }
  await until(() => expect(other.numbers.at(-1)).toBe(302))
  one.standing.set(person(1))
  expect(one.numbers).toHaveLength(2 + 256)
  expect(await it.metric('berth_stream_events_dropped_total')).toBe(44)
})

test('a changed policy: every source is subscribed to anew, and nobody misses anything', async () => {
  const { owner, it, join } = open()
  const clients = [join(UPDATES, 1), join(UPDATES, 2)]
  await served(owner, 1)
  owner.publish(3)
  it.concern({ kind: 'policy', id: 'authz.streams' })
  await until(() => expect(owner.opened).toHaveLength(2))
  owner.publish(3)
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([upTo(6), upTo(6)]))
  owner.refuse('FORBIDDEN')
  it.concern({ kind: 'policy', id: 'authz.streams' })
  await until(() => {
    for (const { endings } of clients) expect(endings).toMatchObject([{ code: 'FORBIDDEN' }])
  })
})

test('another graph: what is still valid goes on, durable by its position, the rest is told why', async () => {
  const { owner, it, join } = open()
  const kept = join(UPDATES, 1)
  const moved = join(
    'subscription { allocationUpdated { event { sequence } allocation { state name } } }',
    1,
  )
  const ticks = join(TICKS, 1)
  const doubtful = join(LESS, 1)
  await served(owner, 4)
  owner.publish(5)
  await until(() => expect([kept, moved, doubtful].map((c) => c.texts.length)).toEqual([5, 5, 5]))
  doubtful.standing.set(null)
  const opened = owner.opened.length
  // `name` is billing's now, so that the owner is asked for other fields; `ticks` are gone.
  it.reload(
    testSupergraph()
      .replace(/\n {2}ticks: Tick![^\n]*/, '')
      .replace(
        /(\ntype Allocation\n[\s\S]*?\n {2}name: String! @join__field\(graph: )ALLOCATIONS/,
        '$1BILLING',
      ),
  )
  await until(() => {
    expect(ticks.endings).toMatchObject([
      { code: 'BAD_INPUT', message: expect.stringMatching(/ticks/) },
    ])
  })
  owner.publish(5)
  doubtful.standing.set(person(1))
  await until(() => {
    expect([kept, moved, doubtful].map((c) => c.numbers)).toEqual([upTo(10), upTo(10), upTo(10)])
  })
  expect(versions(kept)).toEqual([1, 2])
  expect(versions(moved)).toEqual([1, 2])
  expect([kept, moved, doubtful].flatMap((c) => c.endings)).toEqual([])
  // The owner is asked anew for what is another thing now, and for nothing that is as it was.
  expect(owner.opened[1]?.query).toMatch(/\bname\b/)
  const anew = owner.opened.slice(opened).map((o) => o.query)
  expect(anew).not.toContain(owner.opened[0]?.query)
  expect(anew.length).toBeGreaterThan(0)
  expect(anew.filter((query) => /\bname\b/.test(query))).toEqual([])
})

test('another graph is gone over to in slices: meanwhile every stream goes on, and nobody is told by the old one', async () => {
  const { owner, it, join } = open()
  const query = (n: number) => `subscription {
    allocationUpdated(allocationId: "${n}") { allocation { id name } }
  }`
  const clients = Array.from({ length: 30 }, (_, n) => join(query(n), n))
  clients.push(join(LESS, 30))
  await served(owner, 31)
  owner.publish(5)
  await until(() => expect(clients.every((c) => c.texts.length === 5)).toBe(true))
  const graph = it.graphOf(
    testSupergraph().replace(
      /(\ntype Allocation\n[\s\S]*?\n {2}name: String! @join__field\(graph: )ALLOCATIONS/,
      '$1BILLING',
    ),
    2,
  )
  const reopened = vi.spyOn(graph.documents, 'open')
  // As if each of them took long.
  let ms = performance.now()
  const now = vi.spyOn(performance, 'now').mockImplementation(() => {
    ms += 3
    return ms
  })
  it.hub.reload(graph)
  now.mockRestore()
  expect(reopened.mock.calls.length).toBeLessThan(5)
  // Who comes in the midst of it is told by the new graph, and those who were there with them.
  const late = join(LESS, 31)
  owner.publish(5)
  await until(() => expect(late.numbers).toEqual([6, 7, 8, 9, 10]))
  expect(versions(late)).toEqual([2])
  await until(() => {
    for (const client of clients) expect(client.numbers).toEqual(upTo(10))
  })
  // Each text once, and that of the late one by itself: it was sent anew.
  await until(() => expect(reopened).toHaveBeenCalledTimes(32))
  await turn()
  owner.publish(5)
  await until(() => {
    for (const client of clients) expect(client.numbers).toEqual(upTo(15))
  })
  for (const { texts } of clients) expect(JSON.parse(texts.at(-1) ?? '').data.version).toBe(2)
  expect([...clients, late].flatMap((c) => c.endings)).toEqual([])
  expect(await it.metric('berth_stream_groups')).toBe(31)
})

test('a group of one person keeps little: it is of use to nobody else', async () => {
  const { owner, it, join } = open()
  const own = join(INBOX, 1)
  await served(owner, 1)
  owner.publish(100)
  await until(() => expect(own.texts).toHaveLength(100))
  const kept = own.texts.slice(-16).join('').length
  expect(await it.metric('berth_stream_ring_bytes')).toBe(kept)
})

test('what groups keep is bounded for all of them together, and given back', async () => {
  const { owner, it, join } = open({ limits: { maxRingBytes: 2_000 } })
  owner.publish(100)
  const clients = [0, 1, 2].map((n) => join(UPDATES, n, { roles: [`role-${n}`], after: 'c0' }))
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([1, 2, 3].map(() => upTo(100))))
  owner.publish(100)
  await until(() => expect(clients.map((c) => c.numbers)).toEqual([1, 2, 3].map(() => upTo(200))))
  const bytes = await it.metric('berth_stream_ring_bytes')
  expect(bytes).toBeGreaterThan(0)
  expect(bytes).toBeLessThanOrEqual(2_000)
  for (const client of clients) client.close()
  expect(await it.metric('berth_stream_ring_bytes')).toBe(0)
})

test('random losses, doubts, moves and reconnections: each client has exactly what it missed', async () => {
  await storm({ events: 2_000, clients: 40, seed: 7 })
})

function open(options: Parameters<typeof openTestHub>[1] = {}) {
  const owner = memoryOwner()
  const it = openTestHub(owner, options)
  hubs.push(it.hub)
  return {
    owner,
    it,
    join(
      query: string,
      n: number,
      { org, roles, ...of }: Parameters<typeof it.open>[2] & Parameters<typeof person>[1] = {},
    ) {
      const as = { ...(org ? { org } : {}), ...(roles ? { roles } : {}) }
      return it.open(query, standing(person(n, as)), of)
    },
  }
}

function served(owner: ReturnType<typeof memoryOwner>, count: number): Promise<void> {
  return until(async () => {
    expect(owner.openCount).toBeGreaterThanOrEqual(count)
    await turn()
    await turn()
  })
}

function versions({ texts }: TestClient): number[] {
  return [...new Set(texts.map((text) => JSON.parse(text).data.version as number))]
}

function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1)
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function until(check: () => void | Promise<void>): Promise<void> {
  return vi.waitFor(check, { timeout: 10_000, interval: 2 })
}
