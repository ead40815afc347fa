import { DomainError, type ErrorCode } from '@berth/platform/errors'
import { createLog } from '@berth/platform/log'
import { type FormattedExecutionResult, GraphQLError, type GraphQLFormattedError } from 'graphql'
import { expect, test, vi } from 'vitest'
import { openStream, type StreamOptions } from './stream.ts'
import type { Sink } from './upstreams.ts'

const DURABLE = { afterVariable: 'after_', cursorName: 'cursor_', fieldName: 'changed' }
const AWAY = awayOf()
const log = createLog({ service: 'test', instance: 'test', level: 'silent' })

test('a durable stream subscribes again after the last position it received', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.next(event('c2'))
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.map((it) => it.after)).toEqual([null, 'c2'])
  opened.at(-1)?.sink.next(event('c3'))
  expect(await take(stream, 3)).toEqual(['c1', 'c2', 'c3'])
})

test('one that starts after a position keeps it until the first event', async () => {
  const { opened } = await open({ durable: DURABLE, after: 'c7' })
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.map((it) => it.after)).toEqual(['c7', 'c7'])
})

test('one that was told where it starts resumes from there, though no event came', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened.at(-1)?.sink.next({ data: null, extensions: { berthStartsAfter: 'c0' } })
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.at(-1)?.after).toBe('c0')
  opened.at(-1)?.sink.next(event('c1'))
  expect(await take(stream, 1)).toEqual(['c1'])
})

test('a stream without positions subscribes anew', async () => {
  const { stream, opened } = await open({ durable: null })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.at(-1)?.after).toBeNull()
  opened.at(-1)?.sink.next(event('c9'))
  expect(await take(stream, 2)).toEqual(['c1', 'c9'])
})

test('a lost upstream that still talks is not heard', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  const [first] = opened
  first?.sink.next(event('c1'))
  first?.sink.lost(null, true)
  first?.sink.next(event('late'))
  first?.sink.completed()
  await until(() => expect(opened).toHaveLength(2))
  opened.at(-1)?.sink.next(event('c2'))
  expect(await take(stream, 2)).toEqual(['c1', 'c2'])
  expect(first?.stop).toHaveBeenCalled()
})

test('an owner that was never reached is UPSTREAM_UNAVAILABLE after a few attempts', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  const failing = expect(stream.next()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  for (let attempt = 1; attempt <= 3; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.lost(new Error('refused'), false)
  }
  await failing
  expect(opened).toHaveLength(3)
})

test('once open, it outlasts any number of failed connections', async () => {
  const { stream, opened } = await open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
  opened.at(-1)?.sink.next(event('c1'))
  for (let attempt = 1; attempt <= 30; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.lost(new Error('refused'), false)
  }
  await until(() => expect(opened).toHaveLength(31))
  opened.at(-1)?.sink.next(event('c2'))
  expect(await take(stream, 2)).toEqual(['c1', 'c2'])
})

test('a refusal ends it, behind what was received', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.failed([failure('FORBIDDEN')])
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ errors: [failure('FORBIDDEN')] })
})

test('an error that may pass is waited out once it was open, and not for ever', async () => {
  const { stream, opened } = await open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
  opened.at(-1)?.sink.next(event('c1'))
  for (let attempt = 1; attempt <= 21; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.failed([failure('UNAVAILABLE')])
  }
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ errors: [failure('UNAVAILABLE')] })
  expect(opened).toHaveLength(21)
})

test('one that does not keep up is told so and holds nothing more', async () => {
  const onOverflow = vi.fn()
  const { stream, opened } = await open({ durable: DURABLE, maxQueued: 2, onOverflow })
  for (const cursor of ['c1', 'c2', 'c3']) opened.at(-1)?.sink.next(event(cursor))
  expect(onOverflow).toHaveBeenCalledOnce()
  await until(() => expect(opened.at(-1)?.stop).toHaveBeenCalled())
  await expect(stream.next()).rejects.toMatchObject({ code: 'SLOW_CLIENT' })
})

test('returning ends it at once, also while it waits for a subscription or an event', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  const waiting = stream.next()
  await stream.return?.()
  expect(await waiting).toEqual({ done: true, value: undefined })
  await until(() => expect(opened.at(-1)?.stop).toHaveBeenCalled())
})

test('an event that could not be read is read again from its position, and comes whole', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened.at(-1)?.sink.next(event('c1'))
  const [first] = opened
  first?.sink.next(unread('INTERNAL'))
  // What the same upstream sends behind it is past it.
  first?.sink.next(event('c3'))
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.at(-1)?.after).toBe('c1')
  expect(first?.stop).toHaveBeenCalled()
  for (const cursor of ['c2', 'c3']) opened.at(-1)?.sink.next(event(cursor))
  expect(await take(stream, 3)).toEqual(['c1', 'c2', 'c3'])
})

test('one that can never be read ends the stream in the end, at the position before it', async () => {
  const { stream, opened } = await open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
  opened.at(-1)?.sink.next(event('c1'))
  for (let attempt = 1; attempt <= 21; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.next(unread('INTERNAL'))
  }
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ errors: unread('INTERNAL').errors })
  expect(new Set(opened.slice(1).map((it) => it.after))).toEqual(new Set(['c1']))
  expect(opened).toHaveLength(21)
})

test('one that will not pass is told in its place, and so is any of a stream without positions', async () => {
  for (const [durable, code] of [
    [DURABLE, 'NOT_FOUND'],
    [null, 'INTERNAL'],
  ] as const) {
    const { stream, opened } = await open({ durable })
    await until(() => expect(opened).toHaveLength(1))
    opened.at(-1)?.sink.next(unread(code))
    opened.at(-1)?.sink.next(event('c2'))
    expect((await stream.next()).value).toEqual(unread(code))
    expect(await take(stream, 1)).toEqual(['c2'])
    expect(opened).toHaveLength(1)
  }
})

test('authority is renewed while all goes on, and from the position at that moment', async () => {
  const opened: Opened[] = []
  const { promise: second, resolve } = Promise.withResolvers<void>()
  let asked = 0
  const { stream } = await open({
    durable: DURABLE,
    authorize: async () => {
      if (++asked === 2) await second
      return { renewInMs: asked < 3 ? 20 : 3_600_000, subscribe: subscriber(opened) }
    },
  })
  await until(() => expect(asked).toBe(2))
  // Comes while it is being renewed, through the one that is still open.
  opened[0]?.sink.next(event('c1'))
  expect(opened[0]?.stop).not.toHaveBeenCalled()
  resolve()
  await until(() => expect(opened).toHaveLength(3))
  expect(opened.map((it) => it.after)).toEqual([null, 'c1', 'c1'])
  expect(opened.map((it) => it.stop.mock.calls.length)).toEqual([1, 1, 0])
  opened[0]?.sink.next(event('late'))
  opened[2]?.sink.next(event('c2'))
  expect(await take(stream, 2)).toEqual(['c1', 'c2'])
  await stream.return?.()
})

test('without who can tell who asks, what is open stays, and is renewed once they can', async () => {
  const opened: Opened[] = []
  let asked = 0
  const { stream } = await open({
    durable: DURABLE,
    authorize: async () => {
      if (++asked > 1 && asked < 6) throw new DomainError('UNAVAILABLE', 'Not now')
      return { renewInMs: asked < 6 ? 5 : 3_600_000, subscribe: subscriber(opened) }
    },
  })
  await until(() => expect(asked).toBeGreaterThan(2))
  opened[0]?.sink.next(event('c1'))
  await until(() => expect(opened).toHaveLength(2))
  expect(opened[1]?.after).toBe('c1')
  expect(await take(stream, 1)).toEqual(['c1'])
  // And though its owner ended it meanwhile.
  asked = 1
  opened[1]?.sink.failed([failure('UNAVAILABLE')])
  await until(() => expect(opened).toHaveLength(3))
  expect(opened[2]?.after).toBe('c1')
})

test('who may not ask any more gets what was received, and the refusal', async () => {
  const opened: Opened[] = []
  let asked = 0
  const { stream } = await open({
    durable: DURABLE,
    authorize: async () => {
      if (++asked === 2) throw new DomainError('FORBIDDEN', 'You do not belong here')
      return { renewInMs: 50, subscribe: subscriber(opened) }
    },
  })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next(event('c1'))
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ code: 'FORBIDDEN' })
  expect(opened[0]?.stop).toHaveBeenCalled()
})

test('a durable event waits until it is hydrated whole, and those behind it keep their order', async () => {
  let isAway = true
  const { stream, opened } = await open({
    durable: DURABLE,
    hydrate: async (result) =>
      (isAway && cursorOf(result) === 'c1' ? { data: null, errors: [AWAY] } : result) as never,
  })
  await until(() => expect(opened).toHaveLength(1))
  for (const cursor of ['c1', 'c2', 'c3']) opened[0]?.sink.next(event(cursor))
  const taking = take(stream, 3)
  await new Promise((resolve) => setTimeout(resolve, 100))
  isAway = false
  expect(await taking).toEqual(['c1', 'c2', 'c3'])
})

test('a hydration that stays broken costs a stream its patience once, and not at each event', async () => {
  const hydrate = vi.fn(async () => ({ data: null, errors: [AWAY] }))
  const { stream, opened } = await open({ durable: DURABLE, hydrateWithinMs: 300, hydrate })
  await until(() => expect(opened).toHaveLength(1))
  const startedAt = performance.now()
  for (let n = 1; n <= 30; n++) opened[0]?.sink.next(event(`c${n}`))
  for (let n = 1; n <= 30; n++) {
    expect((await stream.next()).value).toEqual({ data: null, errors: [AWAY] })
  }
  expect(performance.now() - startedAt).toBeGreaterThan(250)
  expect(performance.now() - startedAt).toBeLessThan(1_500)
})

test.each([
  ['of a stream without positions', null, [awayOf()]],
  ['that will not pass', DURABLE, [awayOf('NOT_FOUND')]],
])('an error of hydration %s is shown at once', async (_what, durable, errors) => {
  const hydrate = vi.fn(async () => ({ data: null, errors }))
  const { stream, opened } = await open({ durable, hydrate })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next(event('c1'))
  expect((await stream.next()).value).toEqual({ data: null, errors })
  expect(hydrate).toHaveBeenCalledOnce()
})

test('what the event came with is no reason to hydrate it again', async () => {
  const errors = [
    new GraphQLError('no', { path: ['changed', 'part'], extensions: { code: 'INTERNAL' } }),
  ]
  const hydrate = vi.fn(async (it: FormattedExecutionResult) => ({ data: it.data ?? null, errors }))
  const { stream, opened } = await open({ durable: DURABLE, hydrate })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next({ ...event('c1'), errors: errors.map((it) => it.toJSON()) })
  expect((await stream.next()).value).toMatchObject({ errors })
  expect(hydrate).toHaveBeenCalledOnce()
})

test('waiting for hydration ends with the client', async () => {
  const hydrate = vi.fn(async () => ({ data: null, errors: [AWAY] }))
  const { stream, opened } = await open({ durable: DURABLE, hydrate })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next(event('c1'))
  await until(() => expect(hydrate.mock.calls.length).toBeGreaterThan(3))
  await stream.return?.()
  const calls = hydrate.mock.calls.length
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(hydrate.mock.calls.length).toBeLessThanOrEqual(calls + 1)
})

test('a hydration that fails by a bug lets go of the upstream at once, and ends behind the others', async () => {
  const { stream, opened } = await open({
    durable: DURABLE,
    hydrate: async (result) => {
      if (cursorOf(result) === 'c2') throw new TypeError('a bug')
      return result as never
    },
  })
  await until(() => expect(opened).toHaveLength(1))
  for (const cursor of ['c1', 'c2', 'c3']) opened[0]?.sink.next(event(cursor))
  // Before anyone has asked for it.
  await until(() => expect(opened[0]?.stop).toHaveBeenCalled())
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toThrow('a bug')
  expect(await stream.next()).toEqual({ done: true, value: undefined })
  expect(opened).toHaveLength(1)
})

function until(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 15_000, interval: 2 })
}

type Opened = { after: string | null; sink: Sink; stop: ReturnType<typeof vi.fn> }

function subscriber(opened: Opened[]) {
  return (after: string | null, sink: Sink) => {
    const stop = vi.fn()
    opened.push({ after, sink, stop })
    return stop
  }
}

async function open(options: Partial<StreamOptions>) {
  const opened: Opened[] = []
  const stream = openStream({
    durable: null,
    after: null,
    authorize: async () => ({
      renewInMs: 3_600_000,
      subscribe: subscriber(opened),
    }),
    hydrate: async (result) => result as never,
    onOverflow: () => undefined,
    log,
    backoff: { baseMs: 1, maxMs: 5 },
    ...options,
  })
  await new Promise((resolve) => setImmediate(resolve))
  return { stream, opened }
}

function unread(code: string): FormattedExecutionResult {
  return { data: null, errors: [{ ...failure(code), path: ['changed', 'item'] }] }
}

function event(cursor: string): FormattedExecutionResult {
  return { data: { changed: { cursor_: cursor } } }
}

function cursorOf({ data }: FormattedExecutionResult): string {
  return (data as { changed: { cursor_: string } }).changed.cursor_
}

/** As the executor tells of a subgraph that failed. */
function awayOf(code: ErrorCode = 'UPSTREAM_UNAVAILABLE'): GraphQLError {
  const originalError = new DomainError(code, 'billing does not answer')
  return new GraphQLError('billing', { path: ['changed', 'cost'], originalError })
}

function failure(code: string): GraphQLFormattedError {
  return { message: code, extensions: { code } }
}

async function take(stream: AsyncIterator<{ data?: unknown }>, count: number): Promise<string[]> {
  const cursors: string[] = []
  while (cursors.length < count) {
    const { value } = await stream.next()
    cursors.push((value as { data: { changed: { cursor_: string } } }).data.changed.cursor_)
  }
  return cursors
}
