import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createOrderedQueue } from './ordered-queue.ts'

test('results keep the order of the items, however long each takes', async () => {
  const { queue, results, ended } = open((n: number) => delay((n * 7) % 5, n))
  const items = Array.from({ length: 200 }, (_, n) => n)
  for (const n of items) queue.push(n)
  queue.end()
  await ended
  expect(results).toEqual(items)
})

test('works on a few at a time, and no more', async () => {
  let running = 0
  let most = 0
  const { queue, ended } = open(async (n: number) => {
    most = Math.max(most, ++running)
    await delay(1)
    running--
    return n
  })
  for (let n = 0; n < 100; n++) queue.push(n)
  queue.end()
  await ended
  expect(most).toBeGreaterThan(1)
  expect(most).toBeLessThanOrEqual(8)
})

test('the end queues behind what is being worked on, and takes nothing more', async () => {
  const { promise, resolve } = Promise.withResolvers<string>()
  const { queue, results, ended } = open((_: string) => promise)
  queue.push('a')
  queue.end(new Error('over'))
  queue.push('b')
  expect(queue.size).toBe(1)
  resolve('A')
  expect(await ended).toThrow('over')
  expect(results).toEqual(['A'])
})

test('an item that fails is the end, behind all before it and before all after it', async () => {
  const { queue, results, ended } = open(async (n: number) => {
    if (n === 2) throw new Error('two')
    // The failure is known long before what comes before it.
    return delay(n === 1 ? 10 : 0, n)
  })
  for (const n of [1, 2, 3]) queue.push(n)
  expect(await ended).toThrow('two')
  await delay(1)
  expect(results).toEqual([1])
})

test('one that was cleared tells nothing more, also when it is cleared by who is told', async () => {
  const results: number[] = []
  const queue = createOrderedQueue(async (n: number) => n, {
    emit(result) {
      results.push(result)
      if (result === 2) queue.clear()
    },
    onEnd: () => results.push(-1),
  })
  for (const n of [1, 2, 3]) queue.push(n)
  queue.end()
  await delay(1)
  expect(results).toEqual([1, 2])
})

function open<Item, Result>(work: (item: Item) => Promise<Result>) {
  const results: Result[] = []
  const { promise: ended, resolve } = Promise.withResolvers<() => void>()
  const queue = createOrderedQueue(work, {
    emit: (result) => results.push(result),
    onEnd: (error) =>
      resolve(() => {
        if (error !== undefined) throw error
      }),
  })
  return { queue, results, ended }
}
