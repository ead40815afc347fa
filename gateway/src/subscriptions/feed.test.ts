import { DomainError, type ErrorCode } from '@berth/platform/errors'
import { createLog } from '@berth/platform/log'
import { type FormattedExecutionResult, GraphQLError, type GraphQLFormattedError } from 'graphql'
import { expect, test, vi } from 'vitest'
import type { SubgraphAnswer } from '../federation/answers.ts'
import { createFeed, type FeedOptions } from './feed.ts'
import { openSource, type SourceOptions } from './source.ts'
import { IN_DOUBT } from './upstream-errors.ts'
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
  await expect(stream.next()).rejects.toMatchObject({ code: 'FORBIDDEN' })
})

test('an error that may pass is waited out once it was open, and not for ever', async () => {
  const { stream, opened } = await open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
  opened.at(-1)?.sink.next(event('c1'))
  for (let attempt = 1; attempt <= 21; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.failed([failure('UNAVAILABLE')])
  }
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(opened).toHaveLength(21)
})

test('when hydration does not keep up, the owner is left at the position, and nothing is lost', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { stream, opened } = await open({
    durable: DURABLE,
    maxQueued: 4,
    hydrate: async (it) => {
      await promise
      return it
    },
  })
  for (let n = 1; n <= 6; n++) opened[0]?.sink.next(event(`c${n}`))
  expect(opened[0]?.stop).toHaveBeenCalled()
  resolve()
  await until(() => expect(opened).toHaveLength(2))
  // Those that came behind the fourth were not heard: they are told again.
  expect(opened[1]?.after).toBe('c4')
  for (const cursor of ['c5', 'c6']) opened[1]?.sink.next(event(cursor))
  expect(await take(stream, 6)).toEqual(['c1', 'c2', 'c3', 'c4', 'c5', 'c6'])
})

test('without positions, events for which there is no place are dropped, and each is counted', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const onDrop = vi.fn()
  const { stream, opened } = await open({
    durable: null,
    maxQueued: 2,
    onDrop,
    hydrate: async (it) => {
      await promise
      return it
    },
  })
  for (let n = 1; n <= 5; n++) opened[0]?.sink.next(event(`c${n}`))
  expect(onDrop).toHaveBeenCalledTimes(3)
  resolve()
  expect(await take(stream, 2)).toEqual(['c1', 'c2'])
})

test('closing it ends the upstream, also while it is being authorized', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  stream.close()
  expect(opened.at(-1)?.stop).toHaveBeenCalled()
  const { promise, resolve } = Promise.withResolvers<void>()
  const late: Opened[] = []
  const other = await open({
    durable: DURABLE,
    authorize: async () => {
      await promise
      return { renewInMs: null, subscribe: subscriber(late) }
    },
  })
  other.stream.close()
  resolve()
  await new Promise((done) => setImmediate(done))
  expect(late).toEqual([])
})

test('while it is in doubt who asks it waits, and does not fail', async () => {
  const opened: Opened[] = []
  let asked = 0
  const { stream } = await open({
    durable: DURABLE,
    authorize: async () => {
      if (++asked < 30) throw IN_DOUBT
      return { renewInMs: null, subscribe: subscriber(opened) }
    },
  })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next(event('c1'))
  expect(await take(stream, 1)).toEqual(['c1'])
})

test('an event without a position is told once, though the owner tells it again', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened[0]?.sink.next(event('c1'))
  opened[0]?.sink.next(unread('NOT_FOUND'))
  opened[0]?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened[1]?.after).toBe('c1')
  for (const it of [unread('NOT_FOUND'), unread('NOT_FOUND'), event('c2')]) opened[1]?.sink.next(it)
  await until(() => expect(stream.outputs).toHaveLength(4))
  expect(stream.outputs.map((it) => it.includes('NOT_FOUND'))).toEqual([false, true, true, false])
})

test('what it may see has changed: it subscribes anew from its position, and misses nothing', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  opened[0]?.sink.next(event('c1'))
  for (let n = 0; n < 5; n++) stream.source.reopen(20)
  expect(opened[0]?.stop).not.toHaveBeenCalled()
  await until(() => expect(opened).toHaveLength(2))
  expect(opened[1]?.after).toBe('c1')
  opened[0]?.sink.next(event('late'))
  opened[1]?.sink.next(event('c2'))
  expect(await take(stream, 2)).toEqual(['c1', 'c2'])
  expect(opened).toHaveLength(2)
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
  await expect(stream.next()).rejects.toMatchObject({ code: 'INTERNAL' })
  expect(new Set(opened.slice(1).map((it) => it.after))).toEqual(new Set(['c1']))
  expect(opened).toHaveLength(21)
})

test.each(['FORBIDDEN', 'UNAUTHENTICATED'])(
  'an event that the owner refuses, %s, ends the stream, so that nothing is passed over unseen',
  async (code) => {
    for (const durable of [DURABLE, null]) {
      const { stream, opened } = await open({ durable })
      await until(() => expect(opened).toHaveLength(1))
      const [upstream] = opened
      upstream?.sink.next(event('c1'))
      const error = { message: 'No', path: ['allocationUpdated'], extensions: { code } }
      upstream?.sink.next({ data: null, errors: [error] } as never)
      upstream?.sink.next(event('c3'))
      expect(await take(stream, 1)).toEqual(['c1'])
      await expect(stream.next()).rejects.toMatchObject({ code })
      expect(upstream?.stop).toHaveBeenCalled()
    }
  },
)

test('a part of an event that is refused is told with the rest of it', async () => {
  const { stream, opened } = await open({ durable: DURABLE })
  const path = ['allocationUpdated', 'secret']
  const error = { message: 'No', path, extensions: { code: 'FORBIDDEN' } }
  opened.at(-1)?.sink.next({ ...event('c1'), errors: [error] } as never)
  opened.at(-1)?.sink.next(event('c2'))
  expect(await stream.next()).toMatchObject({ errors: [{ message: 'No' }] })
  expect(await take(stream, 1)).toEqual(['c2'])
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
    expect(await stream.next()).toMatchObject({ data: null, errors: [shown(code)] })
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
  stream.close()
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
    expect(await stream.next()).toMatchObject({
      data: null,
      errors: [shown('UPSTREAM_UNAVAILABLE')],
    })
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
  const codes = errors.map(({ originalError }) => shown((originalError as DomainError).code))
  expect(await stream.next()).toMatchObject({ data: null, errors: codes })
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
  expect(await stream.next()).toMatchObject({ errors: [shown('INTERNAL')] })
  expect(hydrate).toHaveBeenCalledOnce()
})

test('waiting for hydration ends with the client', async () => {
  const hydrate = vi.fn(async () => ({ data: null, errors: [AWAY] }))
  const { stream, opened } = await open({ durable: DURABLE, hydrate })
  await until(() => expect(opened).toHaveLength(1))
  opened[0]?.sink.next(event('c1'))
  await until(() => expect(hydrate.mock.calls.length).toBeGreaterThan(3))
  stream.close()
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
  expect(stream.ended).toHaveLength(1)
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

type Options = Partial<SourceOptions & Omit<FeedOptions, 'source' | 'hydrate'>> & {
  hydrate?: (event: SubgraphAnswer) => Promise<{ data?: unknown; errors?: readonly Error[] }>
}

/** A source with its feed, as a group or a private reading has them. */
async function open({ hydrate, ...options }: Options) {
  const opened: Opened[] = []
  const outputs: string[] = []
  const ended: { error?: unknown }[] = []
  const begun: string[] = []
  let read = 0
  const durable = options.durable ?? null
  const openAt = (after: string | null) =>
    openSource({
      service: 'owner',
      isAccepted: false,
      onOver: () => undefined,
      authorize: async () => ({ renewInMs: 3_600_000, subscribe: subscriber(opened) }),
      log,
      backoff: { baseMs: 1, maxMs: 5 },
      ...options,
      after,
      durable,
    })
  const source = openAt(options.after ?? null)
  const feed = createFeed(
    {
      from: { first: source, left: () => undefined, resume: openAt, rejoin: () => null },
      isDurable: durable !== null,
      async hydrate(event) {
        const { data, errors = [] } = hydrate
          ? await hydrate(event)
          : { data: event.data, errors: (event.errors ?? []).map(known) }
        return { dataText: JSON.stringify(data ?? null), errors }
      },
      request: { requestId: 'request-1', log },
      backoff: { baseMs: 1, maxMs: 5 },
      hydrateWithinMs: 10_000,
      maxQueued: 256,
      onDrop: () => undefined,
      ...options,
    },
    {
      onBegin: (position) => begun.push(position),
      onOutput: (_position, text) => outputs.push(text),
      onTrouble: () => undefined,
      onClosing: () => undefined,
      onEnd: (error) => ended.push({ error }),
    },
  )
  await new Promise((resolve) => setImmediate(resolve))
  const stream = {
    outputs,
    ended,
    source,
    async next() {
      await until(() => expect(outputs.length + ended.length).toBeGreaterThan(read))
      const text = outputs[read++]
      if (text === undefined) throw ended[0]?.error
      return JSON.parse(text)
    },
    close: () => feed.close(),
  }
  return { stream, opened, begun }
}

function known({ message, path, extensions }: GraphQLFormattedError): Error {
  const code = extensions?.code as ErrorCode
  return Object.assign(new DomainError(code, message), path ? { path } : {})
}

function shown(code: string) {
  return { extensions: { code } }
}

function unread(code: string): FormattedExecutionResult {
  return { data: null, errors: [{ ...failure(code), path: ['changed', 'item'] }] }
}

function event(cursor: string): FormattedExecutionResult {
  return { data: { changed: { cursor_: cursor } } }
}

function cursorOf({ data }: SubgraphAnswer): string {
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

async function take(stream: { next(): Promise<unknown> }, count: number): Promise<string[]> {
  const cursors: string[] = []
  while (cursors.length < count) {
    const { data } = (await stream.next()) as { data: { changed: { cursor_: string } } }
    cursors.push(data.changed.cursor_)
  }
  return cursors
}
