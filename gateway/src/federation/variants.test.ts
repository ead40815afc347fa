import { expect, test } from 'vitest'
import { createVariants } from './variants.ts'

test('one operation has as many as fit, and its first always', () => {
  const definition = {}
  const weight = 1_000
  const fitting = 10
  const variants = createVariants<number>({ maxBytes: 8 * fitting * weight })
  for (let i = 0; i < 1_024; i++) variants.keep(definition, String(i), i, weight)
  const kept = Array.from({ length: 1_024 }, (_, i) => variants.find(definition, String(i)))
  expect(kept[0]).toBe(0)
  expect(kept.at(-1)).toBe(1_023)
  expect(kept.filter((it) => it !== undefined)).toHaveLength(1 + fitting)
})

test('another operation’s are never found', () => {
  const variants = createVariants<string>()
  const [a, b] = [{}, {}]
  for (const [it, name] of [
    [a, 'a'],
    [b, 'b'],
  ] as const) {
    variants.keep(it, '0', `${name}0`, 1)
    variants.keep(it, '1', `${name}1`, 1)
  }
  expect([variants.find(a, '1'), variants.find(b, '1')]).toEqual(['a1', 'b1'])
  expect(variants.find({}, '1')).toBeUndefined()
})
