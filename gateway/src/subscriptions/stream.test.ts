import { createLog } from '@berth/platform/log'
import type { FormattedExecutionResult, GraphQLFormattedError } from 'graphql'
import { expect, test, vi } from 'vitest'
import { openStream, type StreamOptions } from './stream.ts'
import type { Sink } from './upstreams.ts'

const DURABLE = { afterVariable: 'after_', cursorName: 'cursor_', fieldName: 'changed' }
const log = createLog({ service: 'test', instance: 'test', level: 'silent' })

test('a durable stream subscribes again after the last position it received', async () => {
  const { stream, opened } = open({ durable: DURABLE })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.next(event('c2'))
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.map((it) => it.after)).toEqual([null, 'c2'])
  opened.at(-1)?.sink.next(event('c3'))
  expect(await take(stream, 3)).toEqual(['c1', 'c2', 'c3'])
})

test('one that starts after a position keeps it until the first event', async () => {
  const { opened } = open({ durable: DURABLE, after: 'c7' })
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.map((it) => it.after)).toEqual(['c7', 'c7'])
})

test('one that was told where it starts resumes from there, though no event came', async () => {
  const { stream, opened } = open({ durable: DURABLE })
  opened.at(-1)?.sink.next({ data: null, extensions: { berthStartsAfter: 'c0' } })
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.at(-1)?.after).toBe('c0')
  opened.at(-1)?.sink.next(event('c1'))
  expect(await take(stream, 1)).toEqual(['c1'])
})

test('a stream without positions subscribes anew', async () => {
  const { stream, opened } = open({ durable: null })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.lost(null, true)
  await until(() => expect(opened).toHaveLength(2))
  expect(opened.at(-1)?.after).toBeNull()
  opened.at(-1)?.sink.next(event('c9'))
  expect(await take(stream, 2)).toEqual(['c1', 'c9'])
})

test('a lost upstream that still talks is not heard', async () => {
  const { stream, opened } = open({ durable: DURABLE })
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
  const { stream, opened } = open({ durable: DURABLE })
  const failing = expect(stream.next()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
  for (let attempt = 1; attempt <= 3; attempt++) {
    await until(() => expect(opened).toHaveLength(attempt))
    opened.at(-1)?.sink.lost(new Error('refused'), false)
  }
  await failing
  expect(opened).toHaveLength(3)
})

test('once open, it outlasts any number of failed connections', async () => {
  const { stream, opened } = open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
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
  const { stream, opened } = open({ durable: DURABLE })
  opened.at(-1)?.sink.next(event('c1'))
  opened.at(-1)?.sink.failed([failure('FORBIDDEN')])
  expect(await take(stream, 1)).toEqual(['c1'])
  await expect(stream.next()).rejects.toMatchObject({ errors: [failure('FORBIDDEN')] })
})

test('an error that may pass is waited out once it was open, and not for ever', async () => {
  const { stream, opened } = open({ durable: DURABLE, backoff: { baseMs: 1, maxMs: 1 } })
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
  const { stream, opened } = open({ durable: DURABLE, maxQueued: 2, onOverflow })
  for (const cursor of ['c1', 'c2', 'c3']) opened.at(-1)?.sink.next(event(cursor))
  expect(onOverflow).toHaveBeenCalledOnce()
  await until(() => expect(opened.at(-1)?.stop).toHaveBeenCalled())
  await expect(stream.next()).rejects.toMatchObject({ code: 'SLOW_CLIENT' })
})

test('returning ends it at once, also while it waits for a subscription or an event', async () => {
  const { stream, opened } = open({ durable: DURABLE })
  const waiting = stream.next()
  await stream.return?.()
  expect(await waiting).toEqual({ done: true, value: undefined })
  await until(() => expect(opened.at(-1)?.stop).toHaveBeenCalled())
})

function until(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 15_000, interval: 2 })
}

function open(options: Partial<StreamOptions>) {
  const opened: { after: string | null; sink: Sink; stop: ReturnType<typeof vi.fn> }[] = []
  const stream = openStream({
    durable: null,
    after: null,
    subscribe: async (after, sink) => {
      const stop = vi.fn()
      opened.push({ after, sink, stop })
      return stop
    },
    hydrate: async (result) => result as never,
    onOverflow: () => undefined,
    log,
    backoff: { baseMs: 1, maxMs: 5 },
    ...options,
  })
  return { stream, opened }
}

function event(cursor: string): FormattedExecutionResult {
  return { data: { changed: { cursor_: cursor } } }
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
