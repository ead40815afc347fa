import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clone, type JsonObject, quoted } from './json.ts'
import { merge } from './merge.ts'

test('a text is quoted as JSON.stringify does it', () => {
  const text = fc.string({ unit: 'binary', maxLength: 60 })
  const halves = fc.constantFrom('\ud800', 'a\udc00b', '\u2028', '"', '\\', '\u0000', '\u007f', '')
  fc.assert(
    fc.property(fc.oneof(text, halves), (it) => {
      expect(quoted(it)).toBe(JSON.stringify(it))
    }),
  )
})

const KEYS = fc.constantFrom('a', 'b', 'constructor', '__proto__', 'toString')
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(null, 0, 'x', true),
    tie('object'),
    fc.array(tie('value'), { maxLength: 2 }),
  ),
  object: fc
    .array(fc.tuple(KEYS, tie('value')), { maxLength: 4 })
    // As JSON.parse makes it: `__proto__` is a key like any other.
    .map((entries) => JSON.parse(JSON.stringify(Object.fromEntries(entries))) as JsonObject),
})).object as fc.Arbitrary<JsonObject>

test('merging twice is merging once, and leaves what it is given and every prototype as they were', () => {
  fc.assert(
    fc.property(json, json, fc.boolean(), (target, source, copies) => {
      const before = JSON.stringify(source)
      const once = clone(target)
      merge(once, clone(source), copies)
      const twice = clone(once)
      merge(twice, clone(source), copies)
      expect(JSON.stringify(twice)).toBe(JSON.stringify(once))
      merge(target, source, true)
      expect(JSON.stringify(source)).toBe(before)
      expect(Object.getPrototypeOf(once)).toBe(Object.prototype)
      expect(Object.keys(Object.prototype)).toEqual([])
    }),
  )
})

test('what lies below the target is copied before it changes, when it is another’s', () => {
  const below = Object.freeze({ list: Object.freeze([Object.freeze({ a: 1 })]) })
  const target: JsonObject = { below }
  merge(target, { below: { list: [{ b: 2 }], more: 1 } }, true)
  expect(target).toEqual({ below: { list: [{ a: 1, b: 2 }], more: 1 } })
  expect(below).toEqual({ list: [{ a: 1 }] })
})

test('a null stays whatever comes after it, so that the order of fetches is not to be seen', () => {
  for (const [first, second] of [
    [{ a: null }, { a: { b: 1 } }],
    [{ a: { b: 1 } }, { a: null }],
  ] as const) {
    const target: JsonObject = {}
    merge(target, clone(first), false)
    merge(target, clone(second), false)
    expect(target).toEqual({ a: null })
  }
})
