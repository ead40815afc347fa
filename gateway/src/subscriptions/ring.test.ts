import { expect, test } from 'vitest'
import { createRing, createRingBudget } from './ring.ts'

const limits = { maxItems: 8, maxBytes: 1_000 }

test('rings that have too much together shrink, the one without an output for longest first', () => {
  const budget = createRingBudget(100)
  const [a, b, c] = [0, 1, 2].map(() => createRing(limits, budget)) as [Ring, Ring, Ring]
  fill(a, 4)
  fill(b, 4)
  expect(budget.bytes).toBe(80)
  fill(c, 4)
  expect([kept(a), kept(b), kept(c)]).toEqual([2, 4, 4])
  a.push('p4', 'x'.repeat(10))
  // Now it is the newest, so that others make room.
  expect([kept(a), kept(b), kept(c)]).toEqual([3, 3, 4])
  fill(c, 4)
  expect([kept(a), kept(b), kept(c)]).toEqual([1, 1, 8])
  expect(budget.bytes).toBe(100)
})

test('the newest output of each stays, whatever the others have', () => {
  const budget = createRingBudget(25)
  const rings = [0, 1, 2, 3].map(() => createRing(limits, budget))
  for (const ring of rings) fill(ring, 5)
  expect(rings.map(kept)).toEqual([1, 1, 1, 1])
  expect(rings.map((it) => it.after('p3'))).toEqual([4, 4, 4, 4])
  expect(rings.map((it) => it.before(it.start))).toEqual(['p3', 'p3', 'p3', 'p3'])
  expect(rings.map((it) => it.after('p2'))).toEqual([undefined, undefined, undefined, undefined])
})

test('a ring that is closed gives back what it had, and takes nothing more', () => {
  const budget = createRingBudget(1_000)
  const ring = createRing(limits, budget)
  fill(ring, 20)
  expect(budget.bytes).toBe(80)
  ring.close()
  ring.close()
  expect(budget.bytes).toBe(0)
  ring.push('late', 'x')
  expect(budget.bytes).toBe(0)
})

type Ring = ReturnType<typeof createRing>

function fill(ring: Ring, count: number): void {
  for (let n = 0; n < count; n++) ring.push(`p${n}`, 'x'.repeat(10))
}

function kept(ring: Ring): number {
  return ring.end - ring.start
}
