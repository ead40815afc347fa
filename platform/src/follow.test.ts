import fc from 'fast-check'
import { expect, test } from 'vitest'
import { follow } from './follow.ts'
import { until } from './test-kit/index.ts'

type Item = { position: bigint }

/** A log that commits in order, read in pages, with hints that can be lost. */
function createLog() {
  const items: Item[] = []
  const listeners = new Set<() => void>()
  const reads: bigint[] = []
  return {
    items,
    listeners,
    reads,
    append(count: number, isHinted: boolean) {
      for (let i = 0; i < count; i += 1) items.push({ position: BigInt(items.length + 1) })
      if (isHinted) for (const it of listeners) it()
    },
    async readAfter(position: bigint): Promise<Item[]> {
      reads.push(position)
      // What is read is what had been committed when the read began.
      const page = items.filter((it) => it.position > position).slice(0, 3)
      await new Promise((resolve) => setImmediate(resolve))
      return page
    },
    hints(onHint: () => void) {
      listeners.add(onHint)
      return () => void listeners.delete(onHint)
    },
  }
}

async function take(iterator: AsyncIterator<Item, undefined>, count: number): Promise<bigint[]> {
  const positions: bigint[] = []
  while (positions.length < count) {
    const { value } = await iterator.next()
    if (!value) break
    positions.push(value.position)
  }
  return positions
}

const span = (after: number, upTo: number) =>
  Array.from({ length: upTo - after }, (_, i) => BigInt(after + i + 1))

test('whatever the interleaving of commits, hints and their loss: each once, in order', async () => {
  const step = fc.record({
    commits: fc.nat({ max: 5 }),
    isHinted: fc.boolean(),
    spuriousHints: fc.nat({ max: 2 }),
    turns: fc.nat({ max: 4 }),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 12 }),
      fc.nat({ max: 10 }),
      fc.nat({ max: 3 }),
      async (steps, before, subscribeTurns) => {
        const log = createLog()
        log.append(before, false)
        const after = Math.min(before, 3)
        const iterator = follow({
          after: BigInt(after),
          readAfter: log.readAfter,
          hints: async (onHint) => {
            for (let i = 0; i < subscribeTurns; i += 1) await new Promise(setImmediate)
            return log.hints(onHint)
          },
          pollSeconds: 0.002,
        })
        const total = before + steps.reduce((sum, { commits }) => sum + commits, 0)
        const taken = take(iterator, total - after)
        for (const { commits, isHinted, spuriousHints, turns } of steps) {
          log.append(commits, isHinted)
          for (let i = 0; i < spuriousHints; i += 1) for (const it of log.listeners) it()
          for (let i = 0; i < turns; i += 1) await new Promise(setImmediate)
        }
        expect(await taken).toEqual(span(after, total))
        // Nothing comes twice after it all.
        const extra = iterator.next()
        log.append(1, false)
        expect((await extra).value?.position).toBe(BigInt(total + 1))
        await iterator.return?.()
        await until(() => expect(log.listeners.size).toBe(0))
      },
    ),
    { numRuns: 300 },
  )
})

test('as long as no hint is lost the poll is never needed', async () => {
  const step = fc.record({ commits: fc.integer({ min: 1, max: 4 }), turns: fc.nat({ max: 3 }) })
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 12 }),
      fc.nat({ max: 4 }),
      async (steps, delay) => {
        const log = createLog()
        const iterator = follow({
          after: 0n,
          readAfter: log.readAfter,
          hints: async (onHint) => {
            for (let i = 0; i < delay; i += 1) await new Promise(setImmediate)
            return log.hints(onHint)
          },
          pollSeconds: 3_600,
        })
        const total = steps.reduce((sum, { commits }) => sum + commits, 0)
        const taken = take(iterator, total)
        for (const { commits, turns } of steps) {
          log.append(commits, true)
          for (let i = 0; i < turns; i += 1) await new Promise(setImmediate)
        }
        expect(await taken).toEqual(span(0, total))
        await iterator.return?.()
      },
    ),
    { numRuns: 300 },
  )
})

test('readers that ask ahead get the items in the order they asked', async () => {
  const log = createLog()
  log.append(5, false)
  const iterator = follow({ ...log, after: 0n, hints: log.hints })
  const results = await Promise.all(Array.from({ length: 5 }, () => iterator.next()))
  expect(results.map(({ value }) => value?.position)).toEqual(span(0, 5))
  await iterator.return?.()
})

test('a hint is enough: it does not wait for the poll, nor poll while idle', async () => {
  const log = createLog()
  const iterator = follow({ ...log, after: 0n, hints: log.hints, pollSeconds: 3_600 })
  const next = iterator.next()
  await until(() => expect(log.listeners.size).toBe(1))
  log.append(1, true)
  expect((await next).value?.position).toBe(1n)
  const idle = iterator.next()
  await new Promise((resolve) => setTimeout(resolve, 20))
  const { length } = log.reads
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(log.reads).toHaveLength(length)
  await iterator.return?.()
  await idle
})

test('a burst of hints costs one read, not one each', async () => {
  const log = createLog()
  const iterator = follow({ ...log, after: 0n, hints: log.hints, pollSeconds: 3_600 })
  const idle = iterator.next()
  await new Promise((resolve) => setTimeout(resolve, 10))
  const { length } = log.reads
  for (let i = 0; i < 1_000; i += 1) for (const it of log.listeners) it()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(log.reads.length - length).toBeLessThanOrEqual(2)
  await iterator.return?.()
  await idle
})

test.each(['return', 'abort'])(
  '%s while it waits ends it at once and releases everything',
  async (how) => {
    const log = createLog()
    const abort = new AbortController()
    const iterator = follow({
      ...log,
      after: 0n,
      hints: log.hints,
      pollSeconds: 3_600,
      signal: abort.signal,
    })
    const waiting = [iterator.next(), iterator.next()]
    await until(() => expect(log.listeners.size).toBe(1))
    const timersBefore = process.getActiveResourcesInfo().filter((it) => it === 'Timeout').length
    if (how === 'return') await iterator.return?.()
    else abort.abort()
    const done = { done: true, value: undefined }
    expect(await Promise.all(waiting)).toEqual([done, done])
    expect(await iterator.next()).toEqual(done)
    expect(log.listeners.size).toBe(0)
    const timersAfter = process.getActiveResourcesInfo().filter((it) => it === 'Timeout').length
    expect(timersAfter).toBeLessThan(timersBefore)
    log.append(1, true)
    expect(await iterator.next()).toEqual(done)
  },
)

test('return does not wait for a read that hangs', async () => {
  const readAfter = () => new Promise<never>(() => undefined)
  const iterator = follow({ after: 0n, readAfter, hints: () => () => undefined })
  const waiting = iterator.next()
  await new Promise(setImmediate)
  await iterator.return?.()
  expect(await waiting).toEqual({ done: true, value: undefined })
})

test('one that ends before its hints are subscribed still unsubscribes', async () => {
  const log = createLog()
  const subscribed = Promise.withResolvers<void>()
  const iterator = follow({
    ...log,
    after: 0n,
    hints: async (onHint) => {
      await subscribed.promise
      return log.hints(onHint)
    },
  })
  const waiting = iterator.next()
  await iterator.return?.()
  await waiting
  subscribed.resolve()
  await until(() => expect(log.listeners.size).toBe(0))
})

test('one that was never read, or whose signal is aborted, subscribes to nothing', async () => {
  const log = createLog()
  follow({ ...log, after: 0n, hints: log.hints })
  const aborted = follow({ ...log, after: 0n, hints: log.hints, signal: AbortSignal.abort() })
  expect(await aborted.next()).toEqual({ done: true, value: undefined })
  expect(log.listeners.size).toBe(0)
})

test('a failed read is thrown once and ends it', async () => {
  const log = createLog()
  const readAfter = async () => {
    throw new Error('database is away')
  }
  const iterator = follow({ after: 0n, readAfter, hints: log.hints })
  await expect(iterator.next()).rejects.toThrow('database is away')
  expect(await iterator.next()).toEqual({ done: true, value: undefined })
  await until(() => expect(log.listeners.size).toBe(0))
})

test('hints that cannot be had are made up for by polling', async () => {
  const log = createLog()
  const hints = async () => {
    throw new Error('Redis is away')
  }
  const iterator = follow({ ...log, after: 0n, hints, pollSeconds: 0.01 })
  const next = iterator.next()
  log.append(1, true)
  expect((await next).value?.position).toBe(1n)
  await iterator.return?.()
})

test('a source that goes back in its order is refused rather than repeated', async () => {
  const readAfter = async () => [{ position: 2n }, { position: 1n }]
  const iterator = follow({ after: 0n, readAfter, hints: () => () => undefined })
  await expect(iterator.next()).rejects.toThrow(RangeError)
})
