import { expect, test } from 'vitest'
import { canonicalJson, type Json } from './canonical-json.ts'

test('the example of RFC 8785, section 3.2.2', () => {
  const value: Json = {
    // biome-ignore lint/correctness/noPrecisionLoss: the example's own number.
    numbers: [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
    string: '€$\u000f\nA\'B"\\\\"/',
    literals: [null, true, false],
  }
  expect(canonicalJson(value)).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  )
})

test('names are in the order of their UTF-16 units: the example of section 3.2.3', () => {
  const names = ['€', '\r', '\ufb33', '1', '😀', '\u0080', 'ö']
  const value = Object.fromEntries(names.map((name) => [name, 0]))
  expect(Object.keys(JSON.parse(canonicalJson(value)) as object)).toHaveLength(7)
  const order = [...canonicalJson(value).matchAll(/"([^"]+)":0/g)].map(([, name]) => name)
  expect(order).toEqual(['\\r', '1', '\u0080', 'ö', '€', '😀', '\ufb33'])
})

test.each<[string, Json]>([
  ['0', -0],
  ['[]', []],
  ['{}', {}],
  ['{"a":{"b":[{}],"c":1}}', { a: { c: 1, b: [{}] } }],
  ['"\\u0001\u2028\u007f"', '\u0001\u2028\u007f'],
])('%s', (text, value) => {
  expect(canonicalJson(value)).toBe(text)
})

test.each<[Json]>([[Number.NaN], [Number.POSITIVE_INFINITY], ['\ud800'], [{ '\udc00': 1 }]])(
  'what JSON cannot say is refused: %j',
  (value) => {
    expect(() => canonicalJson(value)).toThrow(TypeError)
  },
)
