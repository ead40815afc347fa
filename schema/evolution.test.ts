import {
  BreakingChangeType,
  buildSchema,
  DangerousChangeType,
  findBreakingChanges,
  findDangerousChanges,
} from 'graphql'
import { expect, test } from 'vitest'
import { changes } from './evolution.ts'
import { releaseProblems } from './release.ts'

const TODAY = '2030-06-01'
const NOW = Date.parse(`${TODAY}T12:00:00Z`)
const Q = 'type Query { a: Int }'

/** Level and coordinate of each change, as `breaking Query.a`. */
function found(released: string, next: string, today = TODAY): string[] {
  return changes(released, next, today).map((it) => `${it.level} ${it.at}`)
}

const breaking = [
  [
    'TYPE_REMOVED',
    `${Q} directive @d(a: T) on FIELD enum T { A }`,
    `${Q} directive @d on FIELD`,
    'T',
  ],
  [
    'TYPE_CHANGED_KIND',
    'type Query { a: T } type T { a: Int }',
    'type Query { a: T } scalar T',
    'T',
  ],
  [
    'TYPE_REMOVED_FROM_UNION',
    'type Query { a: U b: B } union U = A | B type A { a: Int } type B { b: Int }',
    'type Query { a: U b: B } union U = A type A { a: Int } type B { b: Int }',
    'U',
  ],
  [
    'VALUE_REMOVED_FROM_ENUM',
    'type Query { a: E } enum E { ONE TWO }',
    'type Query { a: E } enum E { ONE }',
    'E.TWO',
  ],
  [
    'REQUIRED_INPUT_FIELD_ADDED',
    'type Query { a(in: I): Int } input I { a: Int }',
    'type Query { a(in: I): Int } input I { a: Int b: Int! }',
    'I.b',
  ],
  [
    'IMPLEMENTED_INTERFACE_REMOVED',
    'type Query { a: T i: N } interface N { a: Int } type T implements N { a: Int }',
    'type Query { a: T i: N } interface N { a: Int } type T { a: Int }',
    'T',
  ],
  ['FIELD_REMOVED', 'type Query { a: Int b: Int }', Q, 'Query.b'],
  [
    'FIELD_REMOVED',
    'type Query { a(in: I): Int } input I { a: Int b: Int }',
    'type Query { a(in: I): Int } input I { a: Int }',
    'I.b',
  ],
  ['FIELD_CHANGED_KIND', 'type Query { a: Int! }', Q, 'Query.a'],
  [
    'FIELD_CHANGED_KIND',
    'type Query { a(in: I): Int } input I { a: Int }',
    'type Query { a(in: I): Int } input I { a: Int! }',
    'I.a',
  ],
  ['REQUIRED_ARG_ADDED', Q, 'type Query { a(b: Int!): Int }', 'Query.a(b:)'],
  ['ARG_REMOVED', 'type Query { a(b: Int): Int }', Q, 'Query.a(b:)'],
  [
    'ARG_CHANGED_KIND',
    'type Query { a(b: Int): Int }',
    'type Query { a(b: Int!): Int }',
    'Query.a(b:)',
  ],
  ['DIRECTIVE_REMOVED', `${Q} directive @d on FIELD`, Q, '@d'],
  [
    'DIRECTIVE_ARG_REMOVED',
    `${Q} directive @d(by: Int) on FIELD`,
    `${Q} directive @d on FIELD`,
    '@d(by:)',
  ],
  [
    'REQUIRED_DIRECTIVE_ARG_ADDED',
    `${Q} directive @d on FIELD`,
    `${Q} directive @d(by: Int!) on FIELD`,
    '@d(by:)',
  ],
  [
    'DIRECTIVE_REPEATABLE_REMOVED',
    `${Q} directive @d repeatable on FIELD`,
    `${Q} directive @d on FIELD`,
    '@d',
  ],
  [
    'DIRECTIVE_LOCATION_REMOVED',
    `${Q} directive @d on FIELD | QUERY`,
    `${Q} directive @d on FIELD`,
    '@d',
  ],
] as const

const dangerous = [
  [
    'VALUE_ADDED_TO_ENUM',
    'type Query { a: E } enum E { ONE }',
    'type Query { a: E } enum E { ONE TWO }',
    'E.TWO',
  ],
  [
    'TYPE_ADDED_TO_UNION',
    'type Query { a: U b: B } union U = A type A { a: Int } type B { b: Int }',
    'type Query { a: U b: B } union U = A | B type A { a: Int } type B { b: Int }',
    'U',
  ],
  [
    'OPTIONAL_INPUT_FIELD_ADDED',
    'type Query { a(in: I): Int } input I { a: Int }',
    'type Query { a(in: I): Int } input I { a: Int b: Int }',
    'I.b',
  ],
  ['OPTIONAL_ARG_ADDED', Q, 'type Query { a(b: Int): Int }', 'Query.a(b:)'],
  [
    'IMPLEMENTED_INTERFACE_ADDED',
    'type Query { a: T i: N } interface N { a: Int } type T { a: Int }',
    'type Query { a: T i: N } interface N { a: Int } type T implements N { a: Int }',
    'T',
  ],
  [
    'ARG_DEFAULT_VALUE_CHANGE',
    'type Query { a(b: Int = 1): Int }',
    'type Query { a(b: Int = 2): Int }',
    'Query.a(b:)',
  ],
] as const

test.each(breaking)('%s is breaking, and named by its coordinate', (type, released, next, at) => {
  const known = findBreakingChanges(buildSchema(released), buildSchema(next))
  expect(known.map((it) => it.type)).toContain(type)
  expect(found(released, next)).toContain(`breaking ${at}`)
})

test.each(dangerous)('%s is dangerous, and named by its coordinate', (type, released, next, at) => {
  const known = findDangerousChanges(buildSchema(released), buildSchema(next))
  expect(known.map((it) => it.type)).toEqual([type])
  expect(found(released, next)).toEqual([`dangerous ${at}`])
})

test('every kind of change that graphql-js knows is among these', () => {
  const tried = new Set<string>([...breaking, ...dangerous].map(([type]) => type))
  const known = [...Object.values(BreakingChangeType), ...Object.values(DangerousChangeType)]
  expect(known.filter((it) => !tried.has(it))).toEqual([])
})

test.each([
  [
    'an argument that loses its default and is required',
    'type Query { a(b: Int! = 1): Int }',
    'type Query { a(b: Int!): Int }',
    ['breaking Query.a(b:)'],
  ],
  [
    'an input field that does',
    'type Query { a(in: I): Int } input I { b: Int! = 1 }',
    'type Query { a(in: I): Int } input I { b: Int! }',
    ['breaking I.b'],
  ],
  [
    'an input that becomes @oneOf',
    'type Query { a(in: I): Int } input I { a: Int b: Int }',
    'type Query { a(in: I): Int } input I @oneOf { a: Int b: Int }',
    ['breaking I'],
  ],
  [
    'another root type',
    'schema { query: Query } type Query { a: Int q: Other } type Other { a: Int }',
    'schema { query: Other } type Query { a: Int q: Other } type Other { a: Int q: Query }',
    ['breaking Query'],
  ],
  [
    'another type of an argument of a directive',
    `${Q} directive @d(by: Int) on FIELD`,
    `${Q} directive @d(by: String) on FIELD`,
    ['breaking @d(by:)'],
  ],
  [
    'another default value of an input field',
    'type Query { a(in: I): Int } input I { b: Int = 1 }',
    'type Query { a(in: I): Int } input I { b: Int = 2 }',
    ['dangerous I.b'],
  ],
  [
    'another specification of a scalar',
    'type Query { a: S } scalar S @specifiedBy(url: "https://a.example")',
    'type Query { a: S } scalar S @specifiedBy(url: "https://b.example")',
    ['dangerous S'],
  ],
])('%s is told, which graphql-js does not', (_what, released, next, expected) => {
  const told = findBreakingChanges(buildSchema(released), buildSchema(next))
  expect(told).toEqual([])
  expect(found(released, next)).toEqual(expected)
})

test.each([
  ['a field', Q, 'type Query { a: Int b: T } type T { a: Int }'],
  ['an answer that cannot be null any more', Q, 'type Query { a: Int! }'],
  [
    'an argument that may be left out now',
    'type Query { a(b: Int!): Int }',
    'type Query { a(b: Int): Int }',
  ],
  ['words', Q, '"Queries." type Query { "This." a: Int }'],
])('%s is nothing to be told of', (_what, released, next) => {
  expect(found(released, next)).toEqual([])
})

/** A schema in which everything that can be deprecated is, with this reason, or is not there. */
function aged(reason?: string): string {
  const it = (sdl: string) =>
    reason === undefined ? '' : `${sdl} @deprecated(reason: "${reason}")`
  return `
    type Query { a(in: I  ${it('arg: Int')}): E  ${it('field: Only')} }
    input I { a: Int  ${it('input: Int')} }
    enum E { ONE  ${it('TWO')} }
    ${reason === undefined ? '' : 'type Only { a: Int }'}`
}

const PARTS = ['Query.a(arg:)', 'Query.field', 'I.input', 'E.TWO']
const AT = new Set(PARTS)

test('what was deprecated may go on the day after the one that was promised, with its types', () => {
  const released = aged('Use `a`. Removed after 2030-05-31.')
  const gone = found(released, aged())
  expect(gone.toSorted()).toEqual(PARTS.map((it) => `announced ${it}`).toSorted())
  const early = found(released, aged(), '2030-05-31')
  expect(early.filter((it) => AT.has(it.slice('breaking '.length)))).toHaveLength(4)
  expect(early).toContain('breaking Only')
  const told = changes(released, aged(), '2030-05-31').filter((it) => AT.has(it.at))
  for (const it of told) expect(it.what).toContain('It was promised until 2030-05-31.')
})

test.each([
  ['not deprecated', undefined],
  ['deprecated only here', 'Use `a`. Removed after 2030-05-31.'],
])('what is %s cannot be gone', (_what, reason) => {
  const released = 'type Query { a: Int b: Int }'
  const between = reason
    ? `type Query { a: Int b: Int @deprecated(reason: "${reason}") }`
    : released
  expect(found(released, between).filter((it) => it.startsWith('breaking'))).toEqual([])
  expect(changes(released, Q, TODAY)).toEqual([
    { level: 'breaking', at: 'Query.b', what: 'Query.b was removed. Deprecate it first.' },
  ])
})

test('a type that something else still leads to does not go with what was deprecated', () => {
  const b = 'b: T @deprecated(reason: "Use `a`. Removed after 2030-01-31.")'
  expect(found(`type Query { a: T ${b} } type T { a: Int }`, 'type Query { a: Int }')).toEqual(
    expect.arrayContaining(['breaking T', 'breaking Query.a', 'announced Query.b']),
  )
})

test.each([
  'No longer supported',
  '',
  'Removed after 2030-12-31.',
  'Use `a`.',
  'Use `a`. Removed after 2030-12-31',
  'Use `a`. Removed after 2030-13-31.',
  'Use `a`. Removed after 2031-02-29.',
  'Removed after 2030-12-31. Use `a`.',
])('a deprecation that says "%s" is refused', (reason) => {
  expect(
    found(aged(), aged(reason))
      .filter((it) => it.startsWith('policy'))
      .toSorted(),
  ).toEqual(PARTS.map((it) => `policy ${it}`).toSorted())
})

test('a promise may be prolonged and taken back, and not cut short', () => {
  const until = (day: string) => aged(`Use it. Removed after ${day}.`)
  expect(found(until('2030-12-31'), until('2031-01-01'))).toEqual([])
  expect(found(until('2030-12-31'), until('2030-12-30')).toSorted()).toEqual(
    PARTS.map((it) => `policy ${it}`).toSorted(),
  )
  const kept = aged('x').replaceAll('@deprecated(reason: "x")', '')
  expect(found(until('2030-12-31'), kept)).toEqual([])
})

test('a release gives what it deprecates ninety days', () => {
  const problems = (day: string) =>
    releaseProblems(changes(aged(), aged(`Use it. Removed after ${day}.`), TODAY), NOW)
  expect(problems('2030-08-30')).toEqual([])
  expect(
    problems('2030-08-29')
      .map((it) => it.at)
      .toSorted(),
  ).toEqual(PARTS.toSorted())
  expect(problems('2030-08-29')[0]?.what).toMatch(/too soon.*90 days, until 2030-08-30/)
})

test('a release refuses what breaks, and not what is dangerous', () => {
  const problems = releaseProblems(changes('type Query { a: Int b: Int }', Q, TODAY), NOW)
  expect(problems.map((it) => it.at)).toEqual(['Query.b'])
  expect(releaseProblems(changes(Q, 'type Query { a(b: Int): Int }', TODAY), NOW)).toEqual([])
})
