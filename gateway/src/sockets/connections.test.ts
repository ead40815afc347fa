import { createActor } from '@berth/platform/actor'
import { fakeClock } from '@berth/platform/clock'
import { createMetrics } from '@berth/platform/metrics'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createConnections } from './connections.ts'
import { MessageMeter } from './message-rate.ts'
import { createSweep } from './sweep.ts'

const ROOMY = { total: 100, perAddress: 100, perActor: 100, perOrganization: 100 }

function connectionsOf(limits: Partial<typeof ROOMY>) {
  return createConnections({
    limits: { ...ROOMY, ...limits },
    metrics: createMetrics({ service: 'gateway' }),
  })
}

const person = (letter: string) =>
  createActor({
    kind: 'person',
    subject: `usr_01h455vb4pex5vsknk084sn0${letter}q`,
    organizationId: 'org_01h455vb4pex5vsknk084sn02q',
  })
const key = createActor({
  kind: 'api-key',
  credential: 'key_1',
  organizationId: 'org_01h455vb4pex5vsknk084sn02q',
})

test.each([
  ['of an address, whoever it is', { perAddress: 2 }, 'RATE_LIMITED', ['1.1.1.1', '1.1.1.1']],
  ['in all', { total: 2 }, 'UNAVAILABLE', ['1.1.1.1', '2.2.2.2']],
])(
  'connections %s: one past the limit is refused, until one leaves',
  (_what, limits, code, ips) => {
    const connections = connectionsOf(limits)
    const [first] = ips.map((ip) => connections.enter(ip, 'websocket'))
    const refused = expect.objectContaining({ code })
    expect(() => connections.enter('1.1.1.1', 'sse')).toThrow(refused)
    // What was refused is not counted either.
    expect(() => connections.enter('1.1.1.1', 'sse')).toThrow(refused)
    first?.leave()
    first?.leave()
    connections.enter('1.1.1.1', 'sse')
    expect(() => connections.enter('1.1.1.1', 'sse')).toThrow(refused)
  },
)

test.each([
  ['person', { perActor: 2 }, person('1'), person('2')],
  ['API key', { perActor: 2 }, key, person('1')],
  ['organization', { perOrganization: 2 }, person('1'), null],
])('connections of one %s: one past the limit is refused', (_what, limits, actor, other) => {
  const connections = connectionsOf(limits)
  const places = ['1.1.1.1', '2.2.2.2', '3.3.3.3'].map((ip) => connections.enter(ip, 'websocket'))
  places[0]?.take(actor)
  places[1]?.take(actor)
  const refused = expect.objectContaining({ code: 'RATE_LIMITED' })
  expect(() => places[2]?.take(actor)).toThrow(refused)
  places[2]?.leave()
  if (other) connections.enter('4.4.4.4', 'sse').take(other)
  places[0]?.leave()
  // It left while it was being found out who it is.
  places[0]?.take(actor)
  connections.enter('5.5.5.5', 'sse').take(actor)
  expect(() => connections.enter('5.5.5.5', 'sse').take(actor)).toThrow(refused)
})

test('those who are nobody are no party', () => {
  const connections = connectionsOf({ perActor: 1, perOrganization: 1 })
  const anonymous = createActor({ kind: 'anonymous', authority: 'PUBLIC' })
  for (let i = 0; i < 10; i++) connections.enter('1.1.1.1', 'websocket').take(anonymous)
})

test('messages: the burst at once, then the rate, and never more than the burst is saved', () => {
  const clock = fakeClock()
  const meter = new MessageMeter({ perSecond: 2, burst: 5 }, clock)
  const taken = (attempts: number) =>
    Array.from({ length: attempts }, () => meter.take()).filter(Boolean).length
  expect(taken(10)).toBe(5)
  clock.advance(1)
  expect(taken(10)).toBe(2)
  clock.advance(3_600)
  expect(taken(10)).toBe(5)
  clock.advance(-3_600)
  expect(taken(10)).toBe(0)
})

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('each is looked at once in a period, by one timer, and not before it has been there for one', () => {
  const sweep = createSweep(12_000)
  let first = 0
  let second = 0
  const remove = sweep.add({ sweep: () => void first++ })
  vi.advanceTimersByTime(5_000)
  sweep.add({ sweep: () => void second++ })
  expect(vi.getTimerCount()).toBe(1)
  vi.advanceTimersByTime(6_999)
  expect([first, second]).toEqual([0, 0])
  vi.advanceTimersByTime(1)
  expect([first, second]).toEqual([1, 0])
  vi.advanceTimersByTime(5_000)
  expect([first, second]).toEqual([1, 1])
  remove()
  vi.advanceTimersByTime(24_000)
  expect([first, second]).toEqual([1, 3])
  sweep.close()
  expect(vi.getTimerCount()).toBe(0)
})
