import { buildSchema, getOperationAST, parse, validate } from 'graphql'
import { expect, test } from 'vitest'
import { costOf } from './cost.ts'
import { createCostRules } from './cost-rules.ts'

const schema = buildSchema(`
  directive @cost(weight: Int!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
  directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
  type Query {
    one: Thing
    things: [Thing!]!
    few: [Thing!]! @listSize(assumedSize: 3)
    first(first: Int = 5, last: Int): [Thing] @listSize(slicingArguments: ["first", "last"], assumedSize: 7)
    open(first: Int): [Thing] @listSize(slicingArguments: ["first"], assumedSize: 7)
    byIds(ids: [ID!]!): [Thing]! @listSize(slicingArguments: ["ids"])
    page(first: Int = 5): Page! @listSize(slicingArguments: ["first"], sizedFields: ["nodes", "edges"])
    search(text: String @cost(weight: 20)): Int @cost(weight: 4)
    either: Either
    named: Named
  }
  type Mutation { set: Thing }
  type Subscription { told: Thing }
  type Page { nodes: [Thing!]! edges: [Edge!]! others: [Thing!]! total: Int! }
  type Edge { node: Thing! }
  interface Named { name: Text other: Thing }
  type Thing implements Named { id: ID! name: Text other: Thing page(first: Int = 5): Page! @listSize(slicingArguments: ["first"], sizedFields: ["nodes"]) things: [Thing!]! }
  type Dear implements Named @cost(weight: 9) { name: Text other: Thing @cost(weight: 30) }
  scalar Text @cost(weight: 2)
  union Either = Thing | Dear
`)
const rules = createCostRules(schema, {
  directives: { cost: 'cost', listSize: 'listSize' },
  assumedSize: 10,
})

function compiled(source: string) {
  const document = parse(source)
  expect(validate(schema, document)).toEqual([])
  return costOf(schema, rules, document, getOperationAST(document)!)
}

function cost(source: string, variables: Record<string, unknown> = {}) {
  const made = compiled(source)
  return typeof made === 'number' ? made : made(variables)
}

test.each([
  ['an object is 1, a scalar nothing', '{ one { id } }', 1],
  ['nothing', '{ __typename }', 0],
  ['introspection', '{ __schema { types { fields { name } } } }', 0],
  ['a mutation', 'mutation { set { id } }', 11],
  ['a subscription, each time', 'subscription { told { id } }', 1],
  ['a list that says nothing', '{ things { id } }', 10],
  ['lists in lists', '{ things { other { id } things { id } } }', 10 * (1 + 1 + 10)],
  ['a list of few', '{ few { other { id } } }', 3 * 2],
  ['a default', '{ first { id } }', 5],
  ['a number', '{ first(first: 40) { id } }', 40],
  ['the largest of several', '{ first(first: 2, last: 30) { id } }', 30],
  ['null for a size', '{ first(first: null) { id } }', 7],
  ['nothing for a size', '{ open { id } }', 7],
  ['a size below nothing', '{ open(first: -5) { id } }', 0],
  ['as many as are named', '{ byIds(ids: ["a", "b"]) { id } }', 2],
  ['nodes of a page', '{ page(first: 40) { total nodes { id } } }', 1 + 40],
  ['edges of a page', '{ page(first: 40) { edges { node { id } } } }', 1 + 80],
  ['others in a page', '{ page(first: 40) { others { id } } }', 1 + 10],
  ['nodes twice', '{ page { nodes { id } more: nodes { other { id } } } }', 1 + 5 + 10],
  ['weights', '{ search }', 4],
  ['weights of arguments', '{ search(text: "a") }', 24],
  ['weights of scalars', '{ one { name } }', 3],
  ['what may be the dearer', '{ named { name other { id } } }', 1 + 2 + 30],
  ['every type of a union', '{ either { ... on Thing { other { id } } ... on Dear { name } } }', 4],
  ['what is skipped', '{ one @skip(if: true) { id } two: one @include(if: false) { id } }', 0],
  ['what is there', '{ one @skip(if: false) { id } two: one @include(if: true) { id } }', 2],
])('%s: %s', (_what, source, expected) => {
  const made = compiled(source)
  expect(typeof made).toBe('number')
  expect(made).toBe(expected)
})

test.each([
  [
    'fragments in a page',
    '{ page(first: 3) { ...F } } fragment F on Page { ...G } fragment G on Page { nodes { ...T } } fragment T on Thing { other { id } }',
    1 + 3 * 2,
  ],
  [
    'a fragment of two sizes',
    '{ a: page(first: 3) { ...F } b: page(first: 7) { ...F } } fragment F on Page { nodes { id } }',
    2 + 10,
  ],
  [
    'one that is spread twice',
    '{ page(first: 3) { ...F ...F } } fragment F on Page { nodes { id } }',
    1 + 6,
  ],
  ['inline ones', '{ page(first: 3) { ... { ... on Page { nodes { id } } } } }', 1 + 3],
])('%s', (_what, source, expected) => {
  expect(cost(source)).toBe(expected)
})

const BY_VARIABLE = 'query ($n: Int) { first(first: $n) { id } }'
const BY_DEFAULT = 'query ($n: Int = 9) { first(first: $n) { id } }'
test.each([
  [BY_VARIABLE, { n: 40 }, 40],
  [BY_VARIABLE, {}, 5],
  [BY_VARIABLE, { n: null }, 7],
  [BY_VARIABLE, { n: '40' }, 7],
  [BY_DEFAULT, {}, 9],
  [BY_DEFAULT, { n: 40 }, 40],
  ['query ($ids: [ID!]!) { byIds(ids: $ids) { id } }', { ids: ['a', 'b', 'c'] }, 3],
  [
    'query ($n: Int) { page(first: $n) { nodes { page(first: $n) { nodes { id } } } } }',
    { n: 20 },
    1 + 20 * (1 + 1 + 20),
  ],
  [
    'query ($n: Int) { a: page(first: $n) { ...F } b: page(first: 2) { ...F } } fragment F on Page { nodes { id } }',
    { n: 5 },
    2 + 5 + 2,
  ],
  ['query ($is: Boolean!) { one @include(if: $is) { other { id } } }', { is: true }, 2],
  ['query ($is: Boolean!) { one @include(if: $is) { other { id } } }', { is: false }, 0],
  ['query ($is: Boolean = true) { one @skip(if: $is) { id } }', {}, 0],
  [
    'query ($is: Boolean!) { page(first: 4) { ...F @skip(if: $is) } } fragment F on Page { nodes { id } }',
    { is: true },
    1,
  ],
  [
    'query ($is: Boolean!) { page(first: 4) { ...F @skip(if: $is) } } fragment F on Page { nodes { id } }',
    { is: false },
    5,
  ],
])('%s with %j costs %d', (source, variables, expected) => {
  expect(typeof compiled(source)).toBe('function')
  expect(cost(source, variables)).toBe(expected)
})

test('fragments that multiply are neither read nor computed more than once', () => {
  const levels = 60
  const fragments = Array.from(
    { length: levels },
    (_, i) =>
      `fragment F${i} on Thing { a: other { ...F${i + 1} } b: page(first: $n) { nodes { ...F${i + 1} } } }`,
  )
  const source = `query ($n: Int) { one { ...F0 } } ${fragments.join(' ')} fragment F${levels} on Thing { id }`
  const document = parse(source)
  const made = costOf(schema, rules, document, getOperationAST(document)!)
  if (typeof made === 'number') throw new TypeError('it depends on a variable')
  expect(made({ n: 1 })).toBeGreaterThan(2 ** levels)
  expect(made({ n: 1e308 })).toBeGreaterThan(2 ** levels)
  expect(made({ n: Number.POSITIVE_INFINITY })).not.toBeNaN()
})

test('without directives an object is 1, and a list as long as is assumed', () => {
  const plain = createCostRules(schema, { directives: null, assumedSize: 2 })
  const document = parse('{ page(first: 50) { nodes { name } } search }')
  expect(costOf(schema, plain, document, getOperationAST(document)!)).toBe(1 + 2)
})
