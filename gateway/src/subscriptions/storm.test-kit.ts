import { createCursors } from '@berth/platform/cursor'
import { loadKeys } from '@berth/platform/trusted-keys'
import { createClient } from 'graphql-ws'
import { expect, vi } from 'vitest'
import { WebSocket } from 'ws'
import { openTestPlatform } from '../../test-subgraphs/platform.ts'
import { gatewayProcess, subgraphProcess } from '../../test-subgraphs/process.ts'
import { PEOPLE } from '../../test-subgraphs/subgraphs.ts'
import {
  memoryOwner,
  openTestHub,
  person,
  standing,
  type TestClient,
} from './memory-owner.test-kit.ts'

const UPDATES = `subscription ($after: String) {
  allocationUpdated(after: $after) { event { sequence } allocation { id cost { amount } } }
}`

/** The same asked of the owner, and another thing made of it: a group of its own at the same upstream. */
const OTHERWISE = UPDATES.replace('amount', 'price: amount')

/** Clients that are lost and come back with their last cursor, while all else goes wrong as well. */
export async function storm(of: { events: number; clients: number; seed: number }): Promise<void> {
  const owner = memoryOwner()
  const it = openTestHub(owner, {
    limits: {
      ring: { maxItems: 16, maxBytes: 1_000_000 },
      maxRingBytes: 2_000,
      maxCatchUps: 5,
      maxQueued: 24,
    },
  })
  const random = randomOf(of.seed)
  const pick = (n: number) => Math.floor(random() * n)
  const people = Array.from({ length: of.clients }, (_, n) => ({
    n,
    who: standing(person(n)),
    got: [] as number[],
    client: null as TestClient | null,
    isLost: false,
  }))
  const open1 = (one: (typeof people)[number]) => {
    const after = `c${one.got.at(-1) ?? 0}`
    one.client = it.open(one.n % 3 === 0 ? OTHERWISE : UPDATES, one.who, { after })
  }
  const lose = (one: (typeof people)[number]) => {
    one.client?.close()
    one.got.push(...(one.client?.numbers ?? []))
    one.client = null
  }
  for (const one of people) open1(one)
  for (let published = 0; published < of.events; ) {
    const burst = Math.min(1 + pick(20), of.events - published)
    owner.publish(burst)
    published += burst
    const one = people[pick(people.length)]
    if (!one) continue
    const what = pick(8)
    if (what === 0) owner.cut()
    else if (what <= 2) one.client ? lose(one) : open1(one)
    else if (what === 3) one.who.set(null)
    else if (what === 4)
      one.who.set(person(one.n, { roles: [['member'], ['owner']][pick(2)] ?? [] }))
    else if (what === 5) it.concern({ kind: 'policy', id: '*' })
    for (let turns = pick(4); turns > 0; turns--) await turn()
  }
  for (const one of people) {
    if (one.who.now === null) one.who.set(person(one.n))
    if (!one.client) open1(one)
  }
  await until(() => {
    for (const { got, client } of people) {
      expect(got.length + (client?.texts.length ?? 0)).toBeGreaterThanOrEqual(of.events)
    }
  })
  for (const one of people) {
    const { client } = one
    lose(one)
    expect(client?.endings).toEqual([])
    expect(one.got).toEqual(upTo(of.events))
  }
  expect(owner.openCount).toBe(0)
  expect(await it.metric('berth_stream_members')).toBe(0)
  expect(await it.metric('berth_stream_catch_ups')).toBe(0)
  expect(await it.metric('berth_stream_ring_bytes')).toBe(0)
  it.hub.close()
}

/**
 * The same against processes and over sockets: clients drop their connection when they like and come
 * back with their last cursor, while the gateway and the owner are killed in turn.
 */
export async function killStorm(of: {
  events: number
  clients: number
  kills: number
}): Promise<void> {
  await using platform = await openTestPlatform({
    only: ['billing', 'inventory', 'notifications', 'policy'],
  })
  await using owner = await subgraphProcess('allocations', platform)
  platform.peers.allocations = [owner.url]
  await owner.start()
  await using gateway = await gatewayProcess(platform)
  await gateway.start()
  const authorization = `Bearer ${await platform.issuer.token('user')}`
  await platform.publish('alc_0')
  const start = firstCursor()
  const random = randomOf(of.events)
  const readers = Array.from({ length: of.clients }, () => read())
  const publishing = publish()

  for (let kill = 0; kill < of.kills; kill++) {
    const [victim, at] = [[gateway, owner][kill % 2], ((kill + 1) * of.events) / (of.kills + 2)]
    await until(() => expect(readers[0]?.numbers.length).toBeGreaterThan(at))
    await victim?.kill()
    await victim?.start()
  }
  await publishing
  for (const { numbers, whole } of readers) {
    await whole
    expect(numbers).toEqual(Array.from({ length: of.events }, (_, i) => i + 2))
  }

  async function publish(): Promise<void> {
    for (let n = 0; n < of.events; n += 10) {
      await platform.publish(...Array.from({ length: 10 }, (_, i) => `alc_${n + i}`))
      // So that it takes about as long as the kills do.
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** Of the first event, which was there before anyone subscribed. */
  function firstCursor(): string {
    const { cursorKey } = loadKeys(platform.keysDir, 'allocations')
    const [owner = ''] = Object.keys(PEOPLE.user?.organizations ?? {})
    return createCursors(cursorKey).encode({ stream: 'allocations', owner, position: 1n })
  }

  function connect() {
    return createClient({
      url: `${gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
      retryAttempts: 0,
    })
  }

  function read() {
    const numbers: number[] = []
    let after = start
    return { numbers, whole: untilWhole() }

    async function untilWhole(): Promise<void> {
      while (numbers.length < of.events) {
        await once().catch(() => new Promise((resolve) => setTimeout(resolve, 20)))
      }
    }

    async function once(): Promise<void> {
      const client = connect()
      const query = `subscription ($after: String) { allocationUpdated(after: $after) {
        cursor event { sequence } allocation { cost { amount } }
      } }`
      let left = 1 + Math.floor((random() * of.events) / 4)
      for await (const { data } of client.iterate<Data>({ query, variables: { after } })) {
        if (!data) continue
        after = data.allocationUpdated.cursor
        numbers.push(data.allocationUpdated.event.sequence)
        if (numbers.length >= of.events || --left === 0) break
      }
      client.terminate()
    }
  }
}

type Data = { allocationUpdated: { cursor: string; event: { sequence: number } } }

function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1)
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function until(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 60_000, interval: 20 })
}

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let it = Math.imul(state ^ (state >>> 15), 1 | state)
    it = (it + Math.imul(it ^ (it >>> 7), 61 | it)) ^ it
    return ((it ^ (it >>> 14)) >>> 0) / 2 ** 32
  }
}
