import type { Actor } from '@berth/platform/actor'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStandings, type Holder, type Standing, type Standings } from './standings.ts'

type Answer = { standing: 'GOOD' | 'SIGNED_OUT' | 'SHUT_OUT'; roles: string[] }

const GOOD: Answer = { standing: 'GOOD', roles: ['member'] }
const SHUT_OUT: Answer = { standing: 'SHUT_OUT', roles: [] }

const log = createLog({ service: 'terminal', instance: 'test', level: 'silent' })
let asked: Holder[]
let answer: (of: Holder) => Answer | Promise<Answer>
let can: (actor: Actor) => boolean | Promise<boolean>
let listeners: Set<(concern: Concern) => void>
let completeAt: number
let standings: Standings

beforeEach(() => {
  vi.useFakeTimers()
  asked = []
  answer = () => GOOD
  can = () => true
  listeners = new Set()
  completeAt = Date.now()
  const call = async (_contract: unknown, input: Holder) => {
    asked.push(input)
    return answer(input)
  }
  standings = createStandings({
    commands: { call } as unknown as CommandClient,
    policy: { can: (actor) => can(actor) },
    revocations: {
      subscribe(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      get completeAt() {
        return completeAt
      },
    },
    log,
    metrics: createMetrics({ service: 'terminal' }),
  })
})
afterEach(() => {
  standings[Symbol.dispose]()
  expect(listeners.size).toBe(0)
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

function tell(kind: Concern['kind'], id: string): void {
  for (const listener of listeners) listener({ kind, id })
}

const holder = (change: Partial<Holder> = {}): Holder => ({
  userId: newId('usr'),
  organizationId: newId('org'),
  credential: newId('ses'),
  ...change,
})

/** What it has come to, once everything that needs no time is done; null: they go on. */
async function outcome({ revoked }: Standing): Promise<string | null> {
  let code: string | null = null
  void revoked.then((error) => {
    code = error.code
  })
  await vi.advanceTimersByTimeAsync(0)
  return code
}

test.each<[string, (of: Holder) => [Concern['kind'], string]]>([
  ['the person', ({ userId }) => ['person', userId]],
  ['the organization', ({ organizationId }) => ['organization', organizationId]],
  ['the session', ({ credential }) => ['credential', String(credential)]],
  ['what roles may do', () => ['policy', 'authz.roles']],
  [
    'what may be done in the organization',
    ({ organizationId }) => ['policy', `authz.rules.${organizationId}`],
  ],
  ['everyone', () => ['everyone', '']],
])(
  'a change that concerns %s is asked about; who is shut out ends, others go on',
  async (_w, of) => {
    const [own, other] = [holder(), holder()]
    const [one, another] = [await standings.open(own), await standings.open(other)]
    asked = []
    answer = ({ userId }) => (userId === own.userId ? SHUT_OUT : GOOD)
    tell(...of(own))
    expect(await outcome(one)).toBe('FORBIDDEN')
    expect(await outcome(another)).toBe(null)
    expect(asked[0]).toEqual(own)
  },
)

test('what concerns others is not asked about', async () => {
  const own = holder()
  const standing = await standings.open(own)
  asked = []
  answer = () => SHUT_OUT
  for (const kind of ['person', 'organization', 'credential', 'signing-key'] as const) {
    tell(kind, newId('usr'))
  }
  tell('policy', 'quota.gpus')
  tell('policy', `authz.rules.${newId('org')}`)
  expect(await outcome(standing)).toBe(null)
  expect(asked).toEqual([])
})

test('a session that was ended is told apart, and a role that may not', async () => {
  const [one, another] = [holder(), holder()]
  const signedOut = await standings.open(one)
  answer = () => ({ standing: 'SIGNED_OUT', roles: [] })
  tell('credential', String(one.credential))
  expect(await outcome(signedOut)).toBe('UNAUTHENTICATED')

  answer = () => ({ standing: 'GOOD', roles: ['billing'] })
  const demoted = await standings.open(another)
  can = ({ roles, organizationId, subject }) => {
    expect([organizationId, subject]).toEqual([another.organizationId, another.userId])
    return !roles.includes('billing')
  }
  tell('person', another.userId)
  expect(await outcome(demoted)).toBe('FORBIDDEN')
})

test('a key that signs tokens is denied: shells by a token end, and none opens for a minute', async () => {
  const own = holder({ credential: 'jwt:1' })
  const [bySession, byToken] = [await standings.open(holder()), await standings.open(own)]
  tell('signing-key', 'refresh:1')
  expect(await outcome(byToken)).toBe(null)
  tell('signing-key', 'issuer-1')
  expect(await outcome(byToken)).toBe('UNAUTHENTICATED')
  expect(await outcome(bySession)).toBe(null)
  await expect(standings.open(own)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  await vi.advanceTimersByTimeAsync(60_001)
  using again = await standings.open(own)
  expect(await outcome(again)).toBe(null)
})

test('who may not is not let in; nor is anybody while it cannot be found out', async () => {
  answer = () => SHUT_OUT
  await expect(standings.open(holder())).rejects.toMatchObject({ code: 'FORBIDDEN' })
  answer = () => GOOD
  can = () => false
  await expect(standings.open(holder())).rejects.toMatchObject({ code: 'FORBIDDEN' })
  // A refusal of our own service's question is none of the person's.
  for (const code of ['FORBIDDEN', 'UNAUTHENTICATED', 'NOT_FOUND', 'TIMEOUT'] as const) {
    answer = () => Promise.reject(new DomainError(code, 'no'))
    await expect(standings.open(holder())).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  }
})

test('a change that is told while the answer is on its way is asked about again', async () => {
  const own = holder()
  const first = Promise.withResolvers<Answer>()
  answer = () => first.promise
  const opening = standings.open(own)
  answer = () => SHUT_OUT
  tell('person', own.userId)
  first.resolve(GOOD)
  expect(await outcome(await opening)).toBe('FORBIDDEN')

  answer = () => GOOD
  const standing = await standings.open(own)
  const second = Promise.withResolvers<Answer>()
  answer = () => second.promise
  tell('person', own.userId)
  await vi.advanceTimersByTimeAsync(0)
  const third = Promise.withResolvers<Answer>()
  answer = () => third.promise
  tell('person', own.userId)
  await vi.advanceTimersByTimeAsync(0)
  // The answer to the first question says nothing of the second change.
  second.resolve(GOOD)
  await vi.advanceTimersByTimeAsync(29_000)
  expect(await outcome(standing)).toBe(null)
  third.resolve(SHUT_OUT)
  expect(await outcome(standing)).toBe('FORBIDDEN')
})

test('without an answer it is asked again, and over after 30 s', async () => {
  const own = holder()
  const [one, another] = [await standings.open(own), await standings.open(holder())]
  answer = () => Promise.reject(new DomainError('UPSTREAM_UNAVAILABLE', 'down'))
  tell('person', own.userId)
  await vi.advanceTimersByTimeAsync(29_900)
  expect(await outcome(one)).toBe(null)
  expect(asked.length).toBeGreaterThan(25)
  completeAt = Date.now()
  await vi.advanceTimersByTimeAsync(100)
  expect(await outcome(one)).toBe('UNAVAILABLE')
  expect(await outcome(another)).toBe(null)
})

test('an answer that comes in time dispels the doubt', async () => {
  const own = holder()
  const standing = await standings.open(own)
  answer = () => Promise.reject(new DomainError('TIMEOUT', 'slow'))
  tell('everyone', '')
  await vi.advanceTimersByTimeAsync(20_000)
  answer = () => GOOD
  await vi.advanceTimersByTimeAsync(1_000)
  completeAt = Date.now() + 60_000
  await vi.advanceTimersByTimeAsync(60_000)
  expect(await outcome(standing)).toBe(null)
})

test('changes that come faster than answers end nobody who is told to be good each time', async () => {
  const own = holder()
  const standing = await standings.open(own)
  answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    return GOOD
  }
  for (let at = 0; at < 60_000; at += 300) {
    tell('person', own.userId)
    completeAt = Date.now()
    await vi.advanceTimersByTimeAsync(300)
  }
  expect(await outcome(standing)).toBe(null)
  answer = () => Promise.reject(new DomainError('TIMEOUT', 'slow'))
  tell('person', own.userId)
  await vi.advanceTimersByTimeAsync(31_000)
  expect(await outcome(standing)).toBe('UNAVAILABLE')
})

test('questions that fail at once are asked again as one, and no more once it is over', async () => {
  const own = holder()
  const standing = await standings.open(own)
  const fail: (() => void)[] = []
  answer = () =>
    new Promise((_, reject) => fail.push(() => reject(new DomainError('TIMEOUT', 'slow'))))
  for (let i = 0; i < 3; i++) {
    tell('person', own.userId)
    await vi.advanceTimersByTimeAsync(0)
  }
  for (const it of fail.splice(0)) it()
  await vi.advanceTimersByTimeAsync(1_000)
  expect(fail).toHaveLength(1)
  fail[0]?.()
  await vi.advanceTimersByTimeAsync(0)
  standing[Symbol.dispose]()
  asked = []
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked).toEqual([])
})

test('a feed that says nothing for a minute is a doubt about everyone', async () => {
  const standing = await standings.open(holder())
  await vi.advanceTimersByTimeAsync(55_000)
  expect(asked).toHaveLength(1)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked.length).toBeGreaterThan(1)
  expect(await outcome(standing)).toBe(null)
  answer = () => Promise.reject(new DomainError('UPSTREAM_UNAVAILABLE', 'down'))
  await vi.advanceTimersByTimeAsync(36_000)
  expect(await outcome(standing)).toBe('UNAVAILABLE')
})

test('what is over is not asked about; a change for all asks for few at a time', async () => {
  const open = await Promise.all(Array.from({ length: 100 }, () => standings.open(holder())))
  open.pop()?.[Symbol.dispose]()
  asked = []
  const held = Promise.withResolvers<Answer>()
  answer = () => held.promise
  tell('everyone', '')
  await vi.advanceTimersByTimeAsync(0)
  expect(asked).toHaveLength(16)
  held.resolve(GOOD)
  await vi.advanceTimersByTimeAsync(0)
  expect(asked).toHaveLength(99)
})
