import { expect, test } from 'vitest'
import { createLru } from './lru.ts'

test('it never exceeds its bound, and drops what was used least recently', () => {
  const lru = createLru<number, string>(3)
  for (const n of [1, 2, 3]) lru.set(n, String(n))
  lru.get(1)
  lru.set(4, '4')
  expect([1, 2, 3, 4].map((n) => lru.get(n))).toEqual(['1', undefined, '3', '4'])
  for (let n = 0; n < 100; n++) lru.set(n, '')
  expect(lru.size).toBe(3)
})
