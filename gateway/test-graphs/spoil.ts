import { type Choices, choicesFrom } from './choices.ts'

/**
 * An answer of a subgraph with one or two things wrong with it, or only written otherwise: its text as
 * a whole, or values, lists and objects of its data.
 *
 * @param seed the same seed spoils the same text in the same way, and leaves about half as they are
 */
export function spoiled(text: string, seed: number): Buffer {
  const choices = choicesFrom(seed)
  if (choices.chance(0.5)) return Buffer.from(text)
  if (choices.chance(0.15)) return choices.of(WHOLES)(text, choices)
  const { data, ...rest } = JSON.parse(text)
  const at = choices.below(valuesIn(data))
  const also = choices.chance(0.3) ? choices.below(valuesIn(data)) : at
  let index = 0
  const members = Object.entries({ data, ...rest }).map(([key, value]) =>
    member([JSON.stringify(key), key === 'data' ? written(value) : JSON.stringify(value)]),
  )
  return Buffer.from(`{${members.join(',')}}`)

  function written(value: unknown): string {
    const own = index++
    const isSpoiled = own === at || own === also
    if (Array.isArray(value)) {
      const items = value.map(written)
      return isSpoiled ? choices.of(LISTS)(items, choices) : `[${items.join(',')}]`
    }
    if (typeof value === 'object' && value !== null) {
      const members = Object.entries(value).map(
        ([key, it]): Member => [JSON.stringify(key), written(it)],
      )
      return isSpoiled ? choices.of(OBJECTS)(members, choices) : objectOf(members)
    }
    return isSpoiled ? choices.of(choices.chance(0.7) ? likeOf(value) : ANY) : JSON.stringify(value)
  }
}

type Member = readonly [key: string, value: string]

const TEXTS = [
  ...['""', '"é"', '"漢字😀"', '"1"', '"null"', '"__proto__"', '"\u007f\u2028"', '"x\\""'],
  // Escaped where we would not, or not where we would.
  ...['"\\u0041"', '"\\ud83d\\ude00"', '"\\/"', '"\\u000a"', '"\\n"', '"\u0001"', '"\\\\u0041"'],
  '"\\ud800"',
]
const NUMBERS = [
  ...['0', '-0', '3', '-1', '01', '1E5', '1e5', '1e21', '1e+21', '1e400', '0.1', '0.10', '1.0'],
  ...['2147483647', '2147483648', '-2147483649', '9007199254740993', '123456789012345678'],
]
const ANY = [
  ...['null', 'true', 'false', '{}', '[]', '[null]', '{"__proto__":1}', '{"zz":1,"zz":2}'],
  ...['undefined', ' null', '"RED"', ...TEXTS, ...NUMBERS],
]

function likeOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [...TEXTS, 'null']
  return typeof value === 'number' ? [...NUMBERS, 'null'] : ANY
}

type Spoil<T> = (of: T, choices: Choices) => string

const LISTS: readonly Spoil<readonly string[]>[] = [
  (items) => `[${items.toReversed()}]`,
  (items) => `[${items.slice(1)}]`,
  (items) => `[${[...items, ...items.slice(0, 1)]}]`,
  (items) => `[${[...items, 'null']}]`,
  (items) => `[${['null', ...items.slice(1)]}]`,
  (items) => `[${items.join(', ')}]`,
  (items) => items[0] ?? '{}',
  (_, choices) => choices.of(ANY),
]

const OBJECTS: readonly Spoil<readonly Member[]>[] = [
  (members) => objectOf(members.toReversed()),
  (members) => objectOf(members.slice(1)),
  (members) => objectOf([...members, ...members.slice(0, 1)]),
  (members, choices) => objectOf([...members, [members[0]?.[0] ?? '"zz"', choices.of(ANY)]]),
  (members, choices) => objectOf([...members, [choices.of(['"zz"', '"__proto__"']), '1']]),
  (members) => objectOf(members.map(([key, value]) => [escaped(key), value])),
  (members) => objectOf(members.map(([key, value]) => [key, key === TYPENAME ? '"No"' : value])),
  (members) => `[${objectOf(members)}]`,
  () => 'null',
  (_, choices) => choices.of(ANY),
]

const TYPENAME = '"__typename"'

/** The same key, its first character by its number. */
function escaped(key: string): string {
  return `"\\u${key.charCodeAt(1).toString(16).padStart(4, '0')}${key.slice(2)}`
}

const WHOLES: readonly ((text: string, choices: Choices) => Buffer)[] = [
  ...['\n', ' \r\n\t', '}', '\u00a0', '\0'].map((it) => (text: string) => Buffer.from(text + it)),
  ...['\ufeff', ' '].map((it) => (text: string) => Buffer.from(it + text)),
  ...[
    ...['"errors":[]', '"errors":null', '"errors":[{"message":"x"}]', '"extensions":{}'],
    ...['"data":{}', '"data":null', '"errors":[{"message":"x","path":["_entities",0]}]'],
  ].flatMap((it) => [
    (text: string) => Buffer.from(`${text.slice(0, -1)},${it}}`),
    (text: string) => Buffer.from(`{${it},${text.slice(1)}`),
  ]),
  ...['', 'null', '[]', '{"data":null}', '{"errors":[{"message":"x"}]}'].map(
    (it) => () => Buffer.from(it),
  ),
  (text) => Buffer.from(text.replace('"data"', '"\\u0064ata"')),
  (text, choices) => Buffer.from(text).subarray(0, choices.below(text.length)),
  (text, choices) => {
    const bytes = Buffer.from(text)
    bytes[choices.below(bytes.length)] = choices.of([0x80, 0xc0, 0xed, 0xff])
    return bytes
  },
]

function objectOf(members: readonly Member[]): string {
  return `{${members.map(member)}}`
}

function member([key, value]: Member): string {
  return `${key}:${value}`
}

function valuesIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1
  return Object.values(value).reduce((sum: number, it) => sum + valuesIn(it), 1)
}
