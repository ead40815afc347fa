import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const makers: Thing[] = [
  { __typename: 'Maker', id: 'm1', name: 'Acme', country: 'NL' },
  { __typename: 'Maker', id: 'm2', name: null, country: 'DE' },
]
const warehouses: Thing[] = [
  {
    __typename: 'Warehouse',
    code: 'w1',
    region: { id: 'eu', zone: 1 },
    capacity: 10,
    city: 'Delft',
  },
  { __typename: 'Warehouse', code: 'w1', region: { id: 'us', zone: 2 }, capacity: 0, city: null },
  {
    __typename: 'Warehouse',
    code: 'w2',
    region: { id: 'us', zone: 2 },
    capacity: -3,
    city: 'Reno',
    absentIn: ['places'],
  },
]
const products: Thing[] = [
  product(1, { stockLevel: 3, reviews: ['good', 'bad'], warehouses }),
  product(2, {
    stockLevel: failure('UNAVAILABLE', 'no stock taking'),
    reviews: null,
    warehouses: [],
  }),
  product(3, {
    stockLevel: null,
    reviews: [],
    absentIn: ['reviews'],
    warehouses: [warehouses[2], null],
  }),
  product(4, {
    stockLevel: 0,
    reviews: ['meh'],
    absentIn: ['stock', 'reviews'],
    warehouses: [warehouses[1]],
  }),
  product(5, { stockLevel: 9, reviews: failure('FORBIDDEN', 'not for you'), warehouses: null }),
]
for (const [index, it] of products.entries()) {
  Object.assign(it, { maker: makers[index % 3] ?? null, similar: [products[(index + 1) % 5], it] })
}

function product(n: number, more: object): Thing {
  return {
    __typename: 'Product',
    id: `${n}`,
    sku: `sku-${n}`,
    region: n % 2 ? 'eu' : 'us',
    upc: 1000 + n,
    name: `Product ${n}`,
    rating: n === 4 ? null : n / 2,
    ...more,
  }
}

/** Entities that are known by different keys in different subgraphs, or not at all. */
export const keys: TestGraph = {
  name: 'keys',
  subgraphs: {
    catalog: `
      type Query { products: [Product] product(id: ID!): Product makers: [Maker!] }
      type Product @key(fields: "id") @key(fields: "sku region") {
        id: ID! sku: String! region: String! name: String! maker: Maker similar: [Product!] }
      type Maker @key(fields: "id") { id: ID! name: String }`,
    stock: `
      type Query { byUpc(upc: Int!): Product emptiest: Warehouse }
      type Product @key(fields: "sku region") @key(fields: "upc") {
        sku: String! region: String! upc: Int! stockLevel: Int warehouses: [Warehouse] }
      type Warehouse @key(fields: "code region { id zone }") {
        code: String! region: Region! capacity: Int! }
      type Region @shareable { id: ID! zone: Int! }`,
    reviews: `
      type Query { best: Product worst: [Product] }
      type Product @key(fields: "upc") { upc: Int! reviews: [String!] rating: Float! self: Product! }
      type Maker @key(fields: "id", resolvable: false) { id: ID! }`,
    places: `
      type Query { warehouses: [Warehouse!]! }
      type Warehouse @key(fields: "region { zone id } code") {
        code: String! region: Region! city: String neighbours: [Warehouse] }
      type Region @shareable { id: ID! zone: Int! }
      type Maker @key(fields: "id") { id: ID! country: String! makes: [Product!]! }
      type Product @key(fields: "id", resolvable: false) { id: ID! }`,
  },
  things: [...products, ...makers, ...warehouses],
  values: {
    'Query.byUpc(upc:)': [1001, 1002, 1003, 1004, 1005, 9],
    ID: ['1', '2', '3', '4', '5', '6'],
  },
  resolvers: {
    'Query.products': () => [...products, null],
    'Query.product': (_root, { id }) => products.find((it) => it.id === id) ?? null,
    'Query.makers': () => makers,
    'Query.byUpc': (_root, { upc }) =>
      products.find((it) => it.upc === upc && !it.absentIn?.includes('stock')),
    'Query.emptiest': () => warehouses[2],
    'Query.best': () => products[0],
    'Query.worst': () => [products[4], null, products[1]],
    'Query.warehouses': () => warehouses.filter((it) => !it.absentIn),
    'Product.self': (it) => products.find(({ upc }) => upc === it.upc),
    'Warehouse.neighbours': (it) =>
      warehouses.filter(({ code, region }) => code === it.code && region !== it.region),
    'Maker.makes': (it) => products.filter(({ maker }) => (maker as Thing | null)?.id === it.id),
  },
  operations: [
    // From one key to another through a third subgraph.
    '{ best { name maker { country name } } }',
    '{ products { id reviews rating } }',
    '{ products { stockLevel reviews warehouses { city capacity region { zone } } } }',
    '{ best { self { self { name similar { reviews similar { stockLevel } } } } } }',
    '{ worst { __typename upc name maker { makes { id reviews stockLevel } } } }',
    // Entities that their other subgraphs do not know.
    '{ product(id: "3") { reviews } }',
    '{ product(id: "3") { rating } }',
    '{ product(id: "4") { stockLevel upc } }',
    '{ emptiest { city neighbours { city } } warehouses { city capacity } }',
    '{ a: product(id: "1") { ...P } b: product(id: "none") { ...P } byUpc(upc: 1005) { ...P } } fragment P on Product { name reviews a: reviews b: stockLevel }',
    '{ makers { makes { id } } m: makers { makes { name sku upc } } }',
  ],
}
