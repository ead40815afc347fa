import fc from 'fast-check'
import {
  buildSchema,
  type GraphQLLeafType,
  GraphQLList,
  GraphQLNonNull,
  type GraphQLOutputType,
  isLeafType,
} from 'graphql'
import { expect, test } from 'vitest'
import { isEnd, type Scan, scanLeaf, scanOf, WRONG } from './scan.ts'
import { compileLeaf } from './values.ts'

const schema = buildSchema(
  'type Query { color: Color any: Any } enum Color { RED GREEN RE } scalar Any',
)
const leaf = (name: string): GraphQLLeafType => {
  const type = schema.getType(name)
  if (!isLeafType(type)) throw new TypeError(name)
  return type
}
const LEAVES = ['String', 'ID', 'Int', 'Float', 'Boolean', 'Color', 'Any'].map((name) =>
  name === 'ID' || name === 'Int' || name === 'Float' ? builtIn(name) : leaf(name),
)

function builtIn(name: string): GraphQLLeafType {
  const of = buildSchema(`type Query { it: ${name} }`).getType(name)
  if (!isLeafType(of)) throw new TypeError(name)
  return of
}

const doubles = fc.double({ noNaN: true, noDefaultInfinity: true })
const written = fc.oneof(
  fc.json(),
  doubles.map((it) => JSON.stringify(it)),
  doubles.map((it) => it.toFixed(3)),
  doubles.map((it) => it.toExponential(2)),
  fc.integer().map(String),
  fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(String),
  fc.string({ unit: 'binary' }).map((it) => JSON.stringify(it)),
  fc.stringMatching(/^-?\d{0,3}(\.\d{0,3})?(e[+-]?\d{1,3})?$/),
  fc
    .array(
      fc.constantFrom('a', 'é', '😀', '\n', '\u0000', '\u007f', '"', '\\', '\\n', '\\u', '0041'),
    )
    .map((it) => `"${it.join('')}"`),
  fc.constantFrom('-0', '0', '0.0', '1.0', '1e400', '1e5', '01', '0x10', '.5', '1.', '-', ''),
  fc.constantFrom(
    '9007199254740993',
    '0.1',
    '0.10',
    '1e21',
    '1e-7',
    '0.000001',
    '123456789012345.5',
  ),
  fc.constantFrom('2147483647', '2147483648', '-2147483648', '-2147483649', '99999999999'),
  fc.constantFrom('true', 'false', 'null', 'tru', 'truee', 'Infinity', 'NaN', 'undefined'),
  fc.constantFrom(
    '"RED"',
    '"RE"',
    '"RE',
    '"REDD"',
    'RED',
    '"BLUE"',
    '"\\u0041"',
    '"\\/"',
    '"\u2028"',
  ),
)

test.each(LEAVES)('what is passed on of %s is what would be written', (type) => {
  const scan = scanLeaf(type)
  const write = compileLeaf(type)
  fc.assert(
    fc.property(written, (text) => {
      if (!isAccepted(scan, text)) return
      const value: unknown = JSON.parse(text)
      expect(value === null ? 'null' : write(value)).toBe(text)
    }),
    { numRuns: 5_000 },
  )
})

test.each([
  ['String', ['""', '"a\\"b\\\\c\\n\\u"'.replace('\\u', ''), '"é€😀"', '"\u007f\u2028"']],
  ['ID', ['"1"']],
  ['Int', ['0', '-1', '2147483647', '-2147483648']],
  ['Float', ['0', '1.5', '-0.25', '0.000001', '1e-7', '1e+21', '12345678901234567000', '3']],
  ['Boolean', ['true', 'false']],
  ['Color', ['"RED"', '"RE"']],
  ['Any', ['"a"', '1.5', 'true']],
])('%s: the usual is passed on', (name, texts) => {
  const type = LEAVES.find((it) => it.name === name)
  if (!type) throw new TypeError(name)
  for (const text of texts) expect([text, isAccepted(scanLeaf(type), text)]).toEqual([text, true])
})

test('a null is passed on where it may be, and a list of any depth', () => {
  const string = leaf('String')
  const scan = (type: GraphQLOutputType) => scanOf(type, scanLeaf(string), false)
  const strict = new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(string)))
  const loose = new GraphQLList(new GraphQLList(string))
  expect(isAccepted(scan(string), 'null')).toBe(true)
  expect(isAccepted(scan(new GraphQLNonNull(string)), 'null')).toBe(false)
  for (const text of ['[]', '["a"]', '["a","b"]']) expect(isAccepted(scan(strict), text)).toBe(true)
  for (const text of ['null', '[null]', '["a",]', '["a" ]', '["a""b"]', '["a"', '[,]', '"a"']) {
    expect([text, isAccepted(scan(strict), text)]).toEqual([text, false])
  }
  for (const text of ['null', '[null,["a",null]]', '[[]]']) {
    expect([text, isAccepted(scan(loose), text)]).toEqual([text, true])
  }
})

test('nothing but white space may follow', () => {
  expect(isEnd(Buffer.from('} \r\n\t'), 1)).toBe(true)
  expect(isEnd(Buffer.from('}}'), 1)).toBe(false)
  expect(isEnd(Buffer.from('}\u00a0'), 1)).toBe(false)
})

/** As an item of a list: a value ends where something follows that ends it. */
function isAccepted(scan: Scan, text: string): boolean {
  const bytes = Buffer.from(`${text}]`)
  const at = scan({ bytes, text: bytes.toString('latin1'), found: undefined }, 0)
  return at !== WRONG && at === bytes.length - 1
}
