import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createWeightedCache } from './weighted-cache.ts'

test('it never weighs more than its bound, whatever is done to it', () => {
  const operation = fc.oneof(
    fc.tuple(fc.constant('set' as const), fc.nat(40), fc.nat(40)),
    fc.tuple(fc.constant('get' as const), fc.nat(40), fc.constant(0)),
    fc.tuple(fc.constant('delete' as const), fc.nat(40), fc.constant(0)),
    fc.tuple(fc.constant('grow' as const), fc.nat(40), fc.nat(25)),
  )
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
      const kept = new Map<number, number>()
      const evicted: number[] = []
      const cache = createWeightedCache<number, number>({
        maxWeight: 160,
        onEvict: (key) => evicted.push(key),
      })
      for (const [what, key, weight] of operations) {
        if (what === 'set') cache.set(key, key, weight)
        else if (what === 'delete') cache.delete(key)
        else if (what === 'grow') cache.grow(key, key, weight)
        else expect(cache.get(key) ?? key).toBe(key)
        if (what === 'set' && weight <= 20) kept.set(key, weight)
        else if (what === 'grow') kept.set(key, (kept.get(key) ?? Number.NaN) + weight)
        else if (what !== 'get') kept.delete(key)
        if (what === 'grow' && Number.isNaN(kept.get(key))) kept.delete(key)
        for (const gone of evicted.splice(0)) kept.delete(gone)
        expect(cache.weight).toBe([...kept.values()].reduce((a, b) => a + b, 0))
        expect(cache.weight).toBeLessThanOrEqual(160)
        expect(cache.size).toBe(kept.size)
      }
    }),
  )
})

test('what has grown is weighed with what it has become, and another value under its key is not', () => {
  const evicted: string[] = []
  const cache = createWeightedCache<string, string>({
    maxWeight: 800,
    onEvict: (it) => evicted.push(it),
  })
  for (const it of ['a', 'b', 'c']) cache.set(it, it, 30)
  cache.grow('c', 'another', 50)
  expect(cache.weight).toBe(90)
  cache.grow('c', 'c', 30)
  expect([cache.weight, evicted]).toEqual([90, ['a']])
  cache.get('b')
  cache.grow('b', 'b', 71)
  expect([cache.weight, cache.size, evicted]).toEqual([60, 1, ['a', 'b']])
})

test('a flood of keys that are seen once evicts nothing that was used again', () => {
  const cache = createWeightedCache<string, string>({ maxWeight: 800 })
  for (let i = 0; i < 50; i++) cache.set(`own ${i}`, 'own', 10)
  for (let i = 0; i < 10; i++) cache.set(`own ${i}`, 'own', 10)
  for (let i = 0; i < 10; i++) cache.get(`own ${i}`)
  for (let i = 0; i < 10_000; i++) cache.set(`flood ${i}`, 'flood', 10)
  for (let i = 0; i < 10; i++) expect(cache.get(`own ${i}`)).toBe('own')
})

test('nor does a flood of keys that are each used twice evict what is used more often', () => {
  const cache = createWeightedCache<string, string>({ maxWeight: 800 })
  for (let i = 0; i < 40; i++) {
    cache.set(`own ${i}`, 'own', 10)
    for (let use = 0; use < 15; use++) cache.get(`own ${i}`)
  }
  for (let i = 0; i < 40_000; i++) {
    cache.set(`flood ${i}`, 'flood', 10)
    cache.get(`flood ${i}`)
    // What is in use: each of them, once for every four thousand of the flood.
    if (i % 100 === 0) expect(cache.get(`own ${(i / 100) % 40}`)).toBe('own')
  }
})

test('what is popular now takes the place of what was popular once', () => {
  const cache = createWeightedCache<string, string>({ maxWeight: 800 })
  for (let i = 0; i < 70; i++) {
    cache.set(`old ${i}`, 'old', 10)
    for (let use = 0; use < 1_000; use++) cache.get(`old ${i}`)
  }
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 8; i++) {
      if (!cache.get(`new ${i}`)) cache.set(`new ${i}`, 'new', 10)
    }
  }
  for (let i = 0; i < 1_000; i++) cache.set(`flood ${i}`, 'flood', 10)
  for (let i = 0; i < 8; i++) expect(cache.get(`new ${i}`)).toBe('new')
})

test('what weighs more than probation holds is not kept, and takes the place of none', () => {
  const cache = createWeightedCache<string, string>({ maxWeight: 800 })
  cache.set('small', 'small', 100)
  cache.set('large', 'large', 101)
  cache.set('none', 'none', Number.NaN)
  expect(['small', 'large', 'none'].map((key) => cache.get(key))).toEqual([
    'small',
    undefined,
    undefined,
  ])
})

test('those with most uses are told first', () => {
  const cache = createWeightedCache<number, number>({ maxWeight: 800 })
  for (const uses of [1, 3, 2, 0]) {
    cache.set(uses, uses, 10)
    for (let i = 0; i < uses; i++) cache.get(uses)
  }
  expect(cache.hottest(3)).toEqual([3, 2, 1])
})
