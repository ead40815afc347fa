import { expect, test } from 'vitest'
import { parseStrictJson } from './strict-json.ts'

const parse = (text: string) => parseStrictJson(Buffer.from(text))

test.each([
  '{}',
  '{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}',
  '{"a":"b","b":"a"}',
  '{"a":"\\"a\\":1,\\"a\\":2"}',
  ' { "a" : [ "a" , "a" ] , "b" : null } ',
  '{"__proto__":1,"constructor":2}',
])('%s is an object whose names differ', (text) => {
  expect(parse(text)).toEqual(JSON.parse(text))
})

test.each([
  ['a name twice', '{"a":1,"a":1}'],
  ['a name twice, once escaped', '{"alg":1,"\\u0061lg":2}'],
  ['a name twice further in', '{"a":[{"b":{"c":1,"d":2,"c":3}}]}'],
  ['a name twice after an inner object', '{"a":{"b":1},"a":2}'],
  ['an array', '[{"a":1}]'],
  ['a text', '"a"'],
  ['null', 'null'],
  ['half an object', '{"a":1'],
  ['a byte order mark', '\ufeff{}'],
  ['nothing', ''],
])('%s is none', (_what, text) => {
  expect(parse(text)).toBeNull()
})

test('what is no UTF-8 is none', () => {
  expect(parseStrictJson(Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))).toBeNull()
})
