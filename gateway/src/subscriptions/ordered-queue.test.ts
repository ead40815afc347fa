import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createOrderedQueue } from './ordered-queue.ts'

test('results keep the order of the items, however long each takes', async () => {
  const queue = createOrderedQueue((n: number) => delay((n * 7) % 5, n), 1_000)
  const items = Array.from({ length: 200 }, (_, n) => n)
  for (const n of items) expect(queue.push(n)).toBe(true)
  queue.end()
  expect(await drain(queue)).toEqual(items)
})

test('works on a few at a time, and no more', async () => {
  let running = 0
  let most = 0
  const queue = createOrderedQueue(async (n: number) => {
    most = Math.max(most, ++running)
    await delay(1)
    running--
    return n
  }, 1_000)
  for (let n = 0; n < 100; n++) queue.push(n)
  queue.end()
  await drain(queue)
  expect(most).toBeGreaterThan(1)
  expect(most).toBeLessThanOrEqual(8)
})

test('the end, and a failure, queue behind what is being worked on', async () => {
  const { promise, resolve } = Promise.withResolvers<string>()
  const queue = createOrderedQueue((_: string) => promise, 10)
  queue.push('a')
  queue.end(new Error('over'))
  const first = queue.next()
  resolve('A')
  expect(await first).toEqual({ done: false, value: 'A' })
  await expect(queue.next()).rejects.toThrow('over')
  expect(await queue.next()).toEqual({ done: true, value: undefined })
})

test('is full with the items that were not taken, worked on or not', async () => {
  const queue = createOrderedQueue(async (n: number) => n, 3)
  expect([1, 2, 3, 4].map((n) => queue.push(n))).toEqual([true, true, true, false])
  await queue.next()
  expect(queue.push(5)).toBe(true)
})

test('one failed item is thrown in its turn and the next comes after it', async () => {
  const queue = createOrderedQueue(async (n: number) => {
    if (n === 2) throw new Error('two')
    return n
  }, 10)
  for (const n of [1, 2, 3]) queue.push(n)
  expect(await queue.next()).toEqual({ done: false, value: 1 })
  await expect(queue.next()).rejects.toThrow('two')
  expect(await queue.next()).toEqual({ done: false, value: 3 })
})

test('clearing ends one who waits at once', async () => {
  const queue = createOrderedQueue((n: number) => new Promise<number>(() => n), 10)
  queue.push(1)
  const waiting = queue.next()
  queue.clear()
  expect(await waiting).toEqual({ done: true, value: undefined })
})

async function drain<T>(queue: { next(): Promise<IteratorResult<T, undefined>> }): Promise<T[]> {
  const results: T[] = []
  for (;;) {
    const { done, value } = await queue.next()
    if (done) return results
    results.push(value)
  }
}
