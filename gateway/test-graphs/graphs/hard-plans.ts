import type { TestGraph, Thing } from '../graph.ts'

const items: Thing[] = [
  { __typename: 'Item', id: '1', price: 10, grams: 5 },
  { __typename: 'Item', id: '2', price: null, grams: 0 },
]
const people: Thing[] = [
  { __typename: 'Staff', id: 's1' },
  { __typename: 'Guest', id: 'g1' },
]
const rates: Record<string, number> = { EUR: 1, USD: 2, JPY: 100 }
const priceIn = (currency: string) => (it: { price: number | null }) =>
  it.price === null ? null : `${currency} ${it.price * (rates[currency] ?? 0)}`
const labelOf = ({ shipping }: { shipping: number }) => `ships for ${shipping}`

/** What the planner has no right plan for, or none that a plain executor makes an answer of. */
export const hardPlans: TestGraph = {
  name: 'hard-plans',
  subgraphs: {
    people: `
      type Query { people: [Person] }
      interface Person @key(fields: "id") { id: ID! }
      type Staff implements Person @key(fields: "id") { id: ID! }
      type Guest implements Person @key(fields: "id") { id: ID! }`,
    notes: `
      type Person @key(fields: "id") @interfaceObject { id: ID! note(first: Int = 1): String }`,
    items: `
      type Query { items: [Item!]! }
      type Item @key(fields: "id") { id: ID! price(currency: String = "EUR"): Float grams: Int! }`,
    shipping: `
      type Item @key(fields: "id") {
        id: ID! price(currency: String = "EUR"): Float @external grams: Int! @external label: String @external
        usd: String @requires(fields: "price(currency: \\"USD\\")")
        jpy: String @requires(fields: "price(currency: \\"JPY\\")")
        shipping: Int @requires(fields: "grams")
        shout: String @requires(fields: "label") }`,
    labels: `
      type Item @key(fields: "id") {
        id: ID! shipping: Int @external label: String @requires(fields: "shipping")
        price(currency: String = "EUR"): Float @external eur: String @requires(fields: "price") }`,
  },
  things: [...items, ...people],
  resolvers: {
    'Query.items': () => items,
    'Query.people': () => people,
    'Person.note': (it, { first }) => `${it.id} ${first}`,
    'Item.price': (it, { currency }) =>
      it.price === null ? null : it.price * (rates[currency ?? 'EUR'] ?? 0),
    'Item.usd': priceIn('USD'),
    'Item.jpy': priceIn('JPY'),
    'Item.eur': priceIn('EUR'),
    'Item.shipping': (it) => it.grams * 2,
    'Item.label': (it) => labelOf({ shipping: it.grams * 2 }),
    'Item.shout': (it) => labelOf({ shipping: it.grams * 2 }).toUpperCase(),
  },
  own: {
    shipping: {
      'Item.usd': (it) => (it.price === null ? null : `USD ${it.price}`),
      'Item.jpy': (it) => (it.price === null ? null : `JPY ${it.price}`),
      'Item.shout': (it) => it.label.toUpperCase(),
    },
    labels: {
      'Item.label': labelOf,
      'Item.eur': (it) => (it.price === null ? null : `EUR ${it.price}`),
    },
  },
  operations: [
    '{ items { usd } }',
    '{ items { usd price } }',
    '{ items { price usd } }',
    '{ items { usd price(currency: "JPY") } }',
    '{ items { price(currency: "USD") usd } }',
    '{ items { jpy p: price } }',
    '{ items { price: usd usd: price(currency: "JPY") } }',
    '{ items { label shipping } }',
    '{ items { eur price } }',
    '{ items { usd jpy } }',
    '{ items { usd eur } }',
    '{ items { shout } }',
    '{ people { ... on Guest { note } ... on Staff { note(first: 2) } } }',
  ],
}
