import { expect, test } from 'vitest'
import { createPolicyEvictions } from './policy-evictions.ts'

test('an eviction is of what was read before it, under its key', () => {
  const evictions = createPolicyEvictions()
  const since = evictions.now()
  evictions.evict('a')
  expect(evictions.isKept(['b', 'a'], since)).toBe(false)
  expect(evictions.isKept(['b'], since)).toBe(true)
  expect(evictions.isKept(['b', 'a'], evictions.now())).toBe(true)
})

test('beyond as many keys as are told apart it is of all, and then they are told apart again', () => {
  const evictions = createPolicyEvictions(2)
  const first = evictions.now()
  for (const key of ['a', 'b']) evictions.evict(key)
  expect(evictions.isKept(['x'], first)).toBe(true)
  evictions.evict('c')
  expect(evictions.isKept(['x'], first)).toBe(false)
  const second = evictions.now()
  for (const key of ['d', 'e', 'e']) evictions.evict(key)
  expect(evictions.isKept(['x'], second)).toBe(true)
  expect(evictions.isKept(['e'], second)).toBe(false)
})

test('a doubt evicts nothing', () => {
  const evictions = createPolicyEvictions()
  const since = evictions.now()
  evictions.doubtAll()
  expect(evictions.isSure(['a'], since)).toBe(false)
  expect(evictions.isKept(['a'], since)).toBe(true)
  expect(evictions.isSure(['a'], evictions.now())).toBe(true)
})
