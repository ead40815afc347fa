import type { TestGraph, Thing } from '../graph.ts'

const shops: Thing[] = [
  {
    __typename: 'Shop',
    id: 's1',
    currency: 'EUR',
    tax: 21,
    place: { __typename: 'Place', id: 'p1', country: 'NL' },
  },
  {
    __typename: 'Shop',
    id: 's2',
    currency: 'USD',
    tax: 0,
    place: { __typename: 'Place', id: 'p2', country: null },
  },
  { __typename: 'Shop', id: 's3', currency: 'JPY', tax: null, place: null },
]
const offers: Thing[] = shops.map((shop, n) => ({
  __typename: 'Offer',
  id: `o${n}`,
  cents: n * 100 + 99,
  shop,
  label: `offer ${n}`,
  extra: n,
}))
for (const [n, shop] of shops.entries()) {
  Object.assign(shop, {
    offers: offers.filter((it) => it.shop === shop),
    best: n === 2 ? null : offers[n],
  })
}
const markets: Thing[] = [
  { __typename: 'Market', id: 'm1', currency: 'CHF', stalls: [offers[0]], shops },
]

/** `@context` and `@fromContext`: arguments whose values come from what is above. */
export const context: TestGraph = {
  name: 'context',
  subgraphs: {
    offers: `
      type Query { shops: [Shop!]! shop: Shop market: Market }
      type Market @key(fields: "id") { id: ID! shops: [Shop] }
      type Shop @key(fields: "id") @context(name: "shop") { id: ID! currency: String! tax: Int @external offers: [Offer!] best: Offer place: Place }
      type Place @key(fields: "id") { id: ID! }
      type Offer @key(fields: "id") {
        id: ID! cents: Int!
        price(currency: String @fromContext(field: "$shop { currency }")): String!
        total(tax: Int @fromContext(field: "$shop { tax }"), plus: Int = 1): Int! }`,
    taxes: `
      type Query { taxed: [Shop] }
      type Shop @key(fields: "id") { id: ID! tax: Int }
      type Place @key(fields: "id") { id: ID! country: String }`,
    labels: 'type Offer @key(fields: "id") { id: ID! label: String extra: Int! }',
  },
  things: [
    ...shops,
    ...offers,
    ...markets,
    ...shops.flatMap((it) => (it.place ? [it.place as Thing] : [])),
  ],
  resolvers: {
    'Query.shops': () => shops,
    'Query.shop': () => shops[0],
    'Query.market': () => markets[0],
    'Query.taxed': () => [shops[1], null, shops[2]],
    'Offer.price': (it) => `${it.shop.currency} ${it.cents}`,
    'Offer.total': (it, { plus }) => it.cents + (it.shop.tax ?? 0) + (plus ?? 0),
  },
  own: {
    offers: {
      'Offer.price': (it, { currency }) => `${currency} ${it.cents}`,
      'Offer.total': (it, { tax, plus }) => it.cents + (tax ?? 0) + (plus ?? 0),
    },
  },
  operations: [
    '{ shop { offers { id price } } }',
    '{ shops { currency offers { price label extra total } } }',
    '{ shops { best { total(plus: 3) t: total(plus: null) price label } } }',
    '{ taxed { offers { price total } tax place { country } } }',
    '{ market { shops { best { price } offers { total } } } shop { best { price cents } } }',
    {
      source: 'query ($p: Int) { shops { a: best { total(plus: $p) } offers { total } } }',
      variables: { p: 40 },
    },
  ],
}
