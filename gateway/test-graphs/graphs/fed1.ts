import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const users: Thing[] = [
  { __typename: 'User', id: 'u1', name: 'Ann', rank: 1, email: 'a@x', meta: { k: [1, null] } },
  {
    __typename: 'User',
    id: 'u2',
    name: 'Bob',
    rank: null,
    email: null,
    meta: 'text',
    reviews: null,
  },
  {
    __typename: 'User',
    id: 'u3',
    name: 'Cy',
    rank: 3,
    email: 'hidden',
    meta: null,
    absentIn: ['reviews'],
  },
]
const products: Thing[] = [1, 2, 3].map((n) => ({
  __typename: 'Product',
  upc: `${n}`,
  name: `P${n}`,
  price: n * 10,
  weight: n === 3 ? null : n,
  by: users[n % 2],
  inStock: n === 2 ? failure('UNAVAILABLE', 'counting') : n > 1,
}))
const reviews: Thing[] = [1, 2, 3, 4].map((n) => ({
  __typename: 'Review',
  id: `${n}`,
  body: `R${n}`,
  author: users[n % 2],
  product: products[n % 3],
}))
for (const it of users)
  Object.assign(it, { reviews: reviews.filter(({ author }) => author === it) })
for (const it of products)
  Object.assign(it, { reviews: reviews.filter(({ product }) => product === it) })

const estimate = (it: { price: number | null; weight: number | null }) =>
  (it.price ?? 0) > 20 ? 0 : (it.weight ?? 0) * 2

/** Federation 1: no `@link`, `extend type`, `@external` keys, value types without `@shareable`. */
export const fed1: TestGraph = {
  name: 'fed1',
  link: '',
  subgraphs: {
    accounts: `
      extend type Query { me: User users: [User!]! }
      type User @key(fields: "id") { id: ID! name: String rank: Int meta: Json }
      scalar Json`,
    products: `
      extend type Query { top(first: Int = 5): [Product] }
      type Product @key(fields: "upc") { upc: String! name: String price: Int weight: Int by: User }
      extend type User @key(fields: "id") { id: ID! @external }`,
    inventory: `
      extend type Product @key(fields: "upc") {
        upc: String! @external weight: Int @external price: Int @external inStock: Boolean
        estimate: Int! @requires(fields: "price weight") }`,
    reviews: `
      extend type Query { reviews: [Review!] }
      type Review @key(fields: "id") { id: ID! body: String author: User @provides(fields: "name") product: Product }
      extend type User @key(fields: "id") { id: ID! @external name: String @external email: String reviews: [Review!]! }
      extend type Product @key(fields: "upc") { upc: String! @external reviews: [Review] }`,
  },
  things: [...users, ...products, ...reviews],
  resolvers: {
    'Query.me': () => users[0],
    'Query.users': () => users,
    'Query.top': (_root, { first }) => [...products, null].slice(0, Math.max(0, first ?? 0)),
    'Query.reviews': () => reviews,
    'Product.estimate': estimate,
  },
  operations: [
    '{ top { name estimate inStock reviews { body author { name email rank } } } }',
    '{ me { reviews { product { estimate name by { reviews { id } } } } meta } }',
    '{ users { name email } }',
    '{ users { reviews { id } } }',
    '{ reviews { author { id name rank } product { inStock weight } } top(first: 1) { by { name } } }',
  ],
}
