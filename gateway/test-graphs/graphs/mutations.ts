import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const carts: Thing[] = [1, 2, 3].map((n) => ({
  __typename: 'Cart',
  id: `${n}`,
  lines: [{ __typename: 'Line', sku: `s${n}`, count: n }],
  total: n === 3 ? null : n * 1.5,
  label: `cart ${n}`,
  paid: n === 2 ? failure('INSUFFICIENT_CREDIT', 'add credit') : n > 2,
}))
const cartOf = (id: string) => carts.find((it) => it.id === id) ?? carts[0]

/** Mutations over several subgraphs, whose roots have other names, and root fields that several share. */
export const mutations: TestGraph = {
  name: 'mutations',
  subgraphs: {
    carts: `
      schema { query: CartQuery mutation: CartMutation }
      type CartQuery { cart(id: ID!): Cart version: String! @shareable clock: Clock @shareable effects: [String!]! }
      type CartMutation {
        add(id: ID!, line: LineInput!): Cart! rename(id: ID!, label: String = "new"): Cart
        note(text: String!): Int! @shareable fail(code: String): Cart }
      input LineInput { sku: String! count: Int! = 1 tags: [[String!]] }
      type Cart @key(fields: "id") { id: ID! lines: [Line!] label: String! }
      type Line { sku: String! count: Int }
      type Clock @shareable { hours: Int! }`,
    payments: `
      schema { query: Q mutation: M }
      type Q { version: String! @shareable clock: Clock @shareable unpaid: [Cart!] }
      type M { pay(id: ID!, amount: Money): Cart! refund(id: ID!): Receipt mustFail: Int! }
      scalar Money
      type Cart @key(fields: "id") { id: ID! total: Float! paid: Boolean }
      type Receipt { cart: Cart step: Int! }
      type Clock @shareable { hours: Int! }`,
  },
  things: carts,
  values: {
    ID: ['1', '2', '3'],
    Money: [{ amount: '1.5', currency: 'EUR' }, 7, 'free', null, [1, [2]]],
  },
  resolvers: {
    'Query.cart': (_root, { id }) => carts.find((it) => it.id === id),
    'Query.version': () => 'v1',
    'Query.clock': () => ({ hours: 12 }),
    'Query.effects': (_root, _args, { effects }) => [...effects],
    'Query.unpaid': () => carts,
    'Mutation.add': (_root, { id, line }, { effects }) => {
      const n = effects.push(`add ${id} ${JSON.stringify(line)}`)
      return { ...cartOf(id), label: `${n} ${effects.at(-1)}` }
    },
    'Mutation.rename': (_root, { id, label }, { effects }) => {
      const n = effects.push(`rename ${id} ${label}`)
      return { ...cartOf(id), label: `${n} ${label}` }
    },
    'Mutation.note': (_root, { text }, { effects }) => effects.push(`note ${text}`),
    'Mutation.fail': (_root, { code }, { effects }) => {
      effects.push('fail')
      throw failure('CONFLICT', `failed as ${code} after ${effects.length}`)
    },
    'Mutation.pay': (_root, { id, amount }, { effects }) => {
      effects.push(`pay ${id} ${JSON.stringify(amount)}`)
      return cartOf(id)
    },
    'Mutation.refund': (_root, { id }, { effects }) => ({
      cart: cartOf(id),
      step: effects.push(`refund ${id}`),
    }),
    'Mutation.mustFail': (_root, _args, { effects }) => {
      throw failure('FORBIDDEN', `after ${effects.length}`)
    },
  },
  operations: [
    // One mutation under two conditions, and one in a fragment after another outside.
    'mutation ($v: Boolean = true) { rename(id: "2", label: "a") { paid } b: refund(id: "1") { cart { label } } rename(id: "2", label: "a") @include(if: $v) { lines { count } } fail { paid } }',
    {
      source:
        'mutation ($v: ID = "1") { a: add(id: "3", line: { sku: "a" }) { total } fail { total } ...F } fragment F on Mutation { pay(id: $v) { total } }',
      variables: { v: '2' },
    },
    'mutation { a: add(id: "1", line: { sku: "x" }) { id label paid } b: pay(id: "1") { total label } c: add(id: "2", line: { sku: "y", count: 3 }) { label } }',
    'mutation { note(text: "1") refund(id: "1") { step cart { label paid } } n: note(text: "2") r: refund(id: "2") { step } }',
    'mutation { note(text: "a") fail(code: "x") { id } r: refund(id: "1") { step } }',
    'mutation { note(text: "a") mustFail n: note(text: "b") }',
    'mutation { __typename pay(id: "2", amount: { amount: "1", deep: [1, { x: null }] }) { paid lines { sku } } m: __typename }',
    'mutation { rename(id: "2") { ...C } r: rename(id: "1", label: null) { ...C } } fragment C on Cart { label total paid }',
    '{ __typename version clock { hours } cart(id: "1") { __typename total paid label } unpaid { lines { sku } total } }',
    '{ version a: version clock { __typename hours } c: clock { hours } effects }',
    '{ unpaid { id label } }',
    {
      source:
        'mutation ($l: LineInput!, $s: String!, $m: Money) { add(id: "1", line: $l) { label } x: add(id: "2", line: { sku: $s, tags: [["t"], null] }) { label } pay(id: "1", amount: $m) { id } }',
      variables: { l: { sku: 'q' }, s: 'z', m: [1, { a: 'b' }] },
    },
    {
      source: 'mutation ($l: LineInput!) { add(id: "1", line: $l) { label } }',
      variables: { l: { count: 1 } },
    },
    { source: 'query ($id: ID!) { cart(id: $id) { id } }', variables: {} },
    {
      source: 'query ($id: ID!) { cart(id: $id) { id } __type(name: "Cart") { name } }',
      variables: { id: '1' },
    },
  ],
}
