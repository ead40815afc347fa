import { expect, test } from 'vitest'
import { createLoader } from './loader.ts'

test('what is asked for in one tick is one call, with each key once', async () => {
  const calls: string[][] = []
  const load = createLoader<string, number>(async (keys) => {
    calls.push([...keys])
    return new Map(keys.filter((key) => key !== 'none').map((key) => [key, key.length]))
  })
  expect(await Promise.all(['a', 'bb', 'a', 'none'].map(load))).toEqual([1, 2, 1, null])
  expect(await load('bb')).toBe(2)
  expect(calls).toEqual([['a', 'bb', 'none']])
})
