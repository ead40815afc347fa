import { type Actor, anonymous, createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Authenticated, createIdentify, type Presented } from './authenticate.ts'
import { CredentialRefused } from './issuer.ts'
import { createStandings, type Now, type Standing } from './standing.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }))
afterEach(() => void vi.useRealTimers())

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
const [ANN, BOB, ACME, OTHER] = [newId('usr'), newId('usr'), newId('org'), newId('org')]
const EVERYONE: Concern = { kind: 'everyone', id: '' }

type Who = { subject: `usr_${string}`; organizationId: `org_${string}`; roles: string[] }

/** Standings of who is known by their authorization, and what is asked about them. */
function rig(people: Record<string, Who> = {}) {
  const known = new Map(Object.entries(people))
  const asked: string[] = []
  const failures = new Map<string, Error>()
  const evicted: Concern[] = []
  const listeners = new Set<(concern: Concern) => void>()
  let expiresAt: Date | null = null
  let gate: Promise<void> = Promise.resolve()
  let inFlight = 0
  let most = 0

  const identify = createIdentify([
    async ({ authorization }: Presented): Promise<Authenticated | null> => {
      if (authorization === undefined) return null
      asked.push(authorization)
      const who = known.get(authorization)
      const failure = failures.get(authorization)
      most = Math.max(most, ++inFlight)
      // What is said is of the moment of the question, and comes later.
      await gate
      inFlight--
      if (failure) throw failure
      if (!who) throw new CredentialRefused('nobody')
      const actor = createActor({ kind: 'person', ...who, credential: `jwt:${authorization}` })
      return {
        actor,
        expiresAt,
        signingKeys: [`thumb of ${authorization}`, `key of ${authorization}`],
      }
    },
  ])
  const standings = createStandings({
    authenticate: (presented) => identify(presented),
    identify,
    actors: { evict: (concern) => void evicted.push(concern) },
    tokens: { evict: () => undefined },
    revocations: {
      subscribe(listener) {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    },
    metrics: createMetrics({ service: 'test' }),
  })
  return {
    known,
    asked,
    failures,
    evicted,
    standings,
    most: () => most,
    expireAt: (date: Date) => {
      expiresAt = date
    },
    /** Answers wait until it is called. */
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      return () => {
        gate = Promise.resolve()
        resolve()
      }
    },
    concern(concern: Concern) {
      for (const listener of listeners) listener(concern)
    },
    async open(authorization?: string): Promise<Standing & { told: Now[] }> {
      const presented = { authorization, organizationId: undefined, clientIp: '127.0.0.1' }
      const standing = await standings.open(presented, log)
      const told: Now[] = []
      standing.watch((now) => told.push(now))
      return Object.assign(standing, { told })
    },
  }
}

const ann = (roles = ['member']): Who => ({ subject: ANN, organizationId: ACME, roles })
const bob = (roles = ['member']): Who => ({ subject: BOB, organizationId: ACME, roles })
const rolesOf = (now: Now) => (now as Actor | null)?.roles
/** Lets every promise that can settle do so; no time passes. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('a concern puts whom it concerns in doubt in the same call, and nobody else', async () => {
  const it = rig({ a: ann(), b: bob() })
  const [a, b] = [await it.open('a'), await it.open('b')]
  const before = b.now
  it.known.set('a', ann(['viewer']))
  it.concern({ kind: 'person', id: ANN })
  expect(a.now).toBeNull()
  expect(a.told).toEqual([null])
  expect(it.evicted).toEqual([{ kind: 'person', id: ANN }])
  expect(rolesOf(await a.actor())).toEqual(['viewer'])
  expect(a.told.map(rolesOf)).toEqual([undefined, ['viewer']])
  expect(b.now).toBe(before)
  expect(b.told).toEqual([])
  expect(it.asked).toEqual(['a', 'b', 'a'])
})

test.each<[Concern, string[]]>([
  [{ kind: 'person', id: ANN }, ['a', 'a2']],
  [{ kind: 'organization', id: ACME }, ['a', 'b']],
  [{ kind: 'organization', id: OTHER }, ['a2']],
  [{ kind: 'credential', id: 'jwt:b' }, ['b']],
  [{ kind: 'signing-key', id: 'key of a2' }, ['a2']],
  [{ kind: 'signing-key', id: 'thumb of b' }, ['b']],
  [EVERYONE, ['a', 'b', 'a2']],
  [{ kind: 'policy', id: 'authz.roles' }, []],
  [{ kind: 'person', id: newId('usr') }, []],
])('%j concerns %j', async (concern, expected) => {
  const it = rig({ a: ann(), b: bob(), a2: { ...ann(), organizationId: OTHER } })
  const open = { a: await it.open('a'), b: await it.open('b'), a2: await it.open('a2') }
  const nobody = await it.open()
  it.concern(concern)
  const doubted = Object.entries(open).filter(([, { now }]) => now === null)
  expect(doubted.map(([name]) => name)).toEqual(expected)
  expect(nobody.now).toBe(anonymous)
  await settled()
  expect(nobody.told).toEqual([])
})

test('who is found to be the same is the same object, so that nothing needs to be done', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  const before = a.now
  it.concern({ kind: 'organization', id: ACME })
  await settled()
  expect(a.now).toBe(before)
  expect(a.told).toEqual([null, before])
})

test.each([
  ['no longer a member', new DomainError('FORBIDDEN', 'Not yours'), 'FORBIDDEN'],
  ['known no more', new CredentialRefused('nobody'), 'UNAUTHENTICATED'],
])('who is %s has ended, once and for all', async (_what, failure, code) => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  it.failures.set('a', failure)
  it.concern({ kind: 'person', id: ANN })
  await expect(a.actor()).rejects.toMatchObject({ code })
  expect(a.now).toMatchObject({ code })
  it.failures.delete('a')
  it.concern(EVERYONE)
  await vi.advanceTimersByTimeAsync(120_000)
  expect(a.now).toMatchObject({ code })
  expect(a.told).toHaveLength(2)
  expect(it.asked).toHaveLength(2)
})

test('what was asked before a concern does not answer it', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  const release = it.hold()
  it.concern({ kind: 'person', id: ANN })
  await settled() // The question is on its way, and will be answered as of now.
  it.known.set('a', ann(['viewer']))
  it.concern({ kind: 'person', id: ANN })
  release()
  expect(rolesOf(await a.actor())).toEqual(['viewer'])
  expect(a.told.map(rolesOf)).toEqual([undefined, ['viewer']])
})

test('a concern that comes while a connection is being authenticated is not lost on it', async () => {
  const it = rig({ a: ann(), b: bob() })
  const release = it.hold()
  const [opening, other] = [it.open('a'), it.open('b')]
  await settled()
  it.known.set('a', ann(['viewer']))
  it.concern({ kind: 'person', id: ANN })
  release()
  const a = await opening
  expect(rolesOf(await a.actor())).toEqual(['viewer'])
  expect((await other).now).not.toBeNull()
})

test('the organization stays that of the connection, and is asked for again', async () => {
  const it = rig({ a: ann() })
  const presented: (string | undefined)[] = []
  const standings = createStandings({
    ...deps(),
    authenticate: async () => authenticated(ann()),
    identify: async ({ organizationId }) => {
      presented.push(organizationId)
      return authenticated(ann())
    },
    revocations: {
      subscribe(listener) {
        it.concern = listener
        return () => undefined
      },
    },
  })
  await standings.open({ authorization: 'a', organizationId: undefined, clientIp: '' }, log)
  it.concern(EVERYONE)
  await settled()
  expect(presented).toEqual([ACME])
})

test('5,000 connections of one credential cost one question, and of 50 people 50, few at a time', async () => {
  const it = rig({
    a: ann(),
    ...Object.fromEntries(
      Array.from({ length: 50 }, (_, n) => [`p${n}`, { ...bob(), subject: newId('usr') }]),
    ),
  })
  const ofOne = await Promise.all(Array.from({ length: 5_000 }, () => it.open('a')))
  it.asked.length = 0
  it.concern({ kind: 'person', id: ANN })
  expect(ofOne.every(({ now }) => now === null)).toBe(true)
  await settled()
  expect(ofOne.every(({ now }) => now !== null)).toBe(true)
  expect(it.asked).toEqual(['a'])

  const ofMany = await Promise.all(Array.from({ length: 5_000 }, (_, n) => it.open(`p${n % 50}`)))
  it.asked.length = 0
  const release = it.hold()
  it.concern({ kind: 'organization', id: ACME })
  await settled()
  expect(it.asked.length).toBeLessThanOrEqual(16)
  release()
  await Promise.all(ofMany.map((standing) => standing.actor()))
  expect(it.asked).toHaveLength(51)
})

test('though nothing is heard, it is asked again within 45 s, and nobody notices', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  await vi.advanceTimersByTimeAsync(29_999)
  expect(it.asked).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(15_001)
  expect(it.asked).toHaveLength(2)
  expect(a.told).toEqual([])
  it.known.set('a', ann(['viewer']))
  await vi.advanceTimersByTimeAsync(45_000)
  expect(a.told.map(rolesOf)).toEqual([['viewer']])
})

test('while it cannot be found out the last word holds for a minute, then it is in doubt', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  const before = a.now
  it.failures.set('a', new DomainError('UNAVAILABLE', 'Later'))
  await vi.advanceTimersByTimeAsync(59_000)
  expect(a.now).toBe(before)
  await vi.advanceTimersByTimeAsync(4_000)
  expect(a.told).toEqual([null])
  const waiting = a.actor()
  waiting.catch(() => undefined)
  await vi.advanceTimersByTimeAsync(3_000)
  await expect(waiting).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(a.now).toBeNull()
  it.failures.delete('a')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(a.told).toEqual([null, before])
})

test('a concern that cannot be looked into is a doubt until it can be', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  it.failures.set('a', new TypeError('a bug of policy'))
  it.concern({ kind: 'person', id: ANN })
  await expect(a.actor()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await vi.advanceTimersByTimeAsync(20_000)
  expect(a.told).toEqual([null])
  it.failures.delete('a')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(a.now).not.toBeNull()
})

test('the credential’s expiry ends it, to the second, also in doubt', async () => {
  const it = rig({ a: ann(), b: bob() })
  it.expireAt(new Date(Date.now() + 100_000))
  const [a, b] = [await it.open('a'), await it.open('b')]
  it.failures.set('b', new DomainError('UNAVAILABLE', 'Later'))
  it.concern({ kind: 'person', id: BOB })
  await vi.advanceTimersByTimeAsync(99_999)
  expect(a.now).not.toBeInstanceOf(DomainError)
  await vi.advanceTimersByTimeAsync(1)
  for (const { now } of [a, b]) expect(now).toMatchObject({ code: 'UNAUTHENTICATED' })
})

test('one that is closed is asked for no more, and tells nobody', async () => {
  const it = rig({ a: ann() })
  const a = await it.open('a')
  a.close()
  it.concern(EVERYONE)
  await vi.advanceTimersByTimeAsync(100_000)
  expect(a.told).toEqual([])
  expect(it.asked).toHaveLength(1)
  expect(vi.getTimerCount()).toBe(0)
  await expect(a.actor()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})

test('a listener that fails costs the others nothing', async () => {
  const it = rig({ a: ann(), b: bob() })
  const [a, b] = [await it.open('a'), await it.open('b')]
  const told: Now[] = []
  a.watch(() => {
    throw new Error('a bug')
  })
  a.watch((now) => told.push(now))
  it.concern({ kind: 'organization', id: ACME })
  await settled()
  expect(told).toEqual([null, a.now])
  expect(b.told).toEqual([null, b.now])
})

function authenticated(who: Who): Authenticated {
  return { actor: createActor({ kind: 'person', ...who }), expiresAt: null, signingKeys: [] }
}

function deps() {
  return {
    actors: { evict: () => undefined },
    tokens: { evict: () => undefined },
    metrics: createMetrics({ service: 'test' }),
  }
}
