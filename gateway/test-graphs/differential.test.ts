import { describe, expect, test } from 'vitest'
import { checkGraph, stockDisagreements } from './differential.ts'
import { testGraphs } from './graphs/all.ts'
import { hardPlans } from './graphs/hard-plans.ts'

/** Operations that are generated for each graph, beside those picked by hand. */
const GENERATED = 160
const SEED = 20_260_101

/**
 * What keeps an operation from being compiled, of all that is run here. A feature that falls back
 * has to be put down here; one that no longer does, taken off.
 */
const FELL_BACK: readonly string[] = []

let total = 0
let compiled = 0
let spliced = 0
const fellBack = new Set<string>()

describe('the executor answers as one schema with all the data would', () => {
  test.each(testGraphs)('$name', async (definition) => {
    const checked = await checkGraph(definition, { seed: SEED, generated: GENERATED })
    total += checked.total
    compiled += checked.compiled
    spliced += checked.spliced
    for (const feature of checked.fellBack) fellBack.add(feature)
    expect(checked.disagreements.join('\n\n')).toBe('')
    expect(checked.unplanned).toEqual([])
  })

  test('many answers are passed on as subgraphs wrote them', () => {
    expect(spliced / total).toBeGreaterThan(0.15)
  })

  test('99 of 100 operations run compiled, and what does not is known', () => {
    expect(total).toBeGreaterThan(2_000)
    expect(compiled / total).toBeGreaterThanOrEqual(0.99)
    expect([...fellBack].sort()).toEqual(FELL_BACK)
  })
})

/**
 * Where there is no right plan, and the executor refuses rather than answers with wrong values: two
 * `@requires` of one field with different arguments are fetched under one name.
 */
const REFUSED = ['{ items { usd jpy } }', '{ items { usd eur } }']

/** Those, and what the executor does right by a plan that is wrong. */
const WRONG_PLANS = [
  ...REFUSED,
  // What is required by a field of the same subgraph that is itself required elsewhere is fetched
  // too late, and not sent.
  '{ items { shout } }',
  // Fields of different types become one field of an interface object, with different arguments.
  '{ people { ... on Guest { note } ... on Staff { note(first: 2) } } }',
]

test('what has no right plan is refused, and known', async () => {
  const { disagreeing } = await checkGraph(hardPlans, { seed: SEED, generated: 0 })
  expect(disagreeing).toEqual(REFUSED)
})

/** Of the operations picked by hand, by graph: those that the executor of @apollo/gateway answers otherwise. */
const STOCK_DISAGREES: Readonly<Record<string, readonly string[]>> = {
  // Errors of `_entities` where some entities were left out, or are null, are at the wrong index.
  keys: [
    '{ products { id reviews rating } }',
    '{ products { stockLevel reviews warehouses { city capacity region { zone } } } }',
  ],
  provides: [
    '{ b: works { ... on Book { author { address { zip } } } ... on Film { author { __typename ... on User { email } } } } }',
    '{ anyone { ... on User { name email } ... on Bot { name version maker { email name } } } }',
  ],
  // What a `@requires` fetched with its arguments is answered for the client's field of that name.
  // And what requires what failed, or is null, is computed from a null all the same.
  requires: [
    '{ items { shipping size heaviness flat } }',
    '{ items { shipping price(currency: "EUR") a: price(currency: "USD", round: true) } }',
    '{ items { label } }',
    '{ items { label shipping price grams dims { w } } }',
    '{ items { next { next { label nextId } nextId } } item(id: "4") { shipping label packing } }',
    'query ($v: Boolean = false) { items { shipping @include(if: $v) heaviness nextId } item(id: "5") { credit @skip(if: true) label } }',
    '{ item(id: "5") { size flat packing } a: item(id: "5") { dims { w unit { name } } shipping price(currency: "EUR") } }',
    'query ($c: String, $no: Boolean = false) { items { price(currency: $c) shipping @include(if: $no) label @skip(if: $no) } }',
  ],
  // What requires what was fetched under a condition, or for other types, is not answered.
  'interface-object': [
    'query ($no: Boolean = false) { ranking { ... on Person @include(if: $no) { ... on Staff { score } b: shout } level } }',
    'query ($id: ID = "g1") { b: person(id: $id) { peer { notes } ... on Staff { shout } } }',
    '{ people { ... on Staff { shout score } ... on Guest { score peer { ... on Guest { shout } level } } } }',
  ],
  // A value that is none is a null without an error as soon as there is another error.
  abstract: [
    '{ pets { __typename id name size friend { name ... on Dog { barks } ... on Cat { lives } } } }',
  ],
  // One mutation under two conditions is run twice; and variables are coerced by nobody: the gateway
  // does it before either executor.
  mutations: [
    'mutation ($v: Boolean = true) { rename(id: "2", label: "a") { paid } b: refund(id: "1") { cart { label } } rename(id: "2", label: "a") @include(if: $v) { lines { count } } fail { paid } }',
    'mutation ($l: LineInput!) { add(id: "1", line: $l) { label } }',
    'query ($id: ID!) { cart(id: $id) { id } }',
  ],
  // Contexts are planned, and not run.
  context: [
    '{ shop { offers { id price } } }',
    '{ shops { currency offers { price label extra total } } }',
    '{ shops { best { total(plus: 3) t: total(plus: null) price label } } }',
    '{ taxed { offers { price total } tax place { country } } }',
    '{ market { shops { best { price } offers { total } } } shop { best { price cents } } }',
    'query ($p: Int) { shops { a: best { total(plus: $p) } offers { total } } }',
  ],
  // As in `abstract` and `mutations`, and a null that bubbles for an entity without an error for it.
  shapes: [
    '{ rows { id maybe list color } }',
    '{ rows { sure } }',
    '{ rows { id far } }',
    '{ rows { farMaybe far maybe } }',
    'query ($s: Boolean!, $i: Boolean!) { rows { id id @skip(if: $s) next @include(if: $i) { id } next @skip(if: $s) { far } ... @include(if: $i) { maybe } sure @skip(if: $s) @include(if: $i) } row @skip(if: $s) { id } }',
    'query ($c: Color) { echo(color: $c) }',
    'query ($n: Int!) { echo(int: $n) rows { id } }',
  ],
  // As in `requires`, and the wrong plans.
  'hard-plans': [
    '{ items { usd price } }',
    '{ items { price usd } }',
    '{ items { usd price(currency: "JPY") } }',
    ...WRONG_PLANS,
  ],
}

/** How it answers generated operations otherwise, by graph. */
const STOCK_KINDS: Readonly<Record<string, readonly string[]>> = {
  keys: ['missing errors', 'no error explains the null', 'order of keys'],
  requires: ['data', 'order of keys'],
  abstract: ['data'],
  'interface-object': ['data', 'surplus errors'],
  'interface-stub': ['data'],
  override: ['order of keys'],
  context: ['data'],
  shapes: ['missing errors'],
}

const STOCK_GENERATED = 15

test('where the stock executor disagrees is known', async () => {
  const found: Record<string, readonly string[]> = {}
  const kinds: Record<string, readonly string[]> = {}
  for (const definition of [...testGraphs, hardPlans]) {
    const generated = definition === hardPlans ? 0 : STOCK_GENERATED
    const stock = await stockDisagreements(definition, { seed: SEED, generated })
    if (stock.picked.length > 0) found[definition.name] = stock.picked
    if (stock.kinds.length > 0) kinds[definition.name] = stock.kinds
  }
  expect(found).toEqual(STOCK_DISAGREES)
  expect(kinds).toEqual(STOCK_KINDS)
})
