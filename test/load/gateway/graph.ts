export const SERVICES = ['catalog', 'supply', 'reviews'] as const
export type Service = (typeof SERVICES)[number]

/** Ports of the three subgraphs, on loopback. */
export type Addresses = Readonly<Record<Service, string>>

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])\n`

const CATALOG = `
  type Query { offers(first: Int!, after: Int!): [Offer!]! }
  type Offer @key(fields: "id") {
    id: ID!
    name: String!
    kind: Kind!
    tags: [String!]!
    price: Int!
    maker: Maker!
  }
  type Maker { name: String! country: String! }
  enum Kind { TRAINING INFERENCE RENDERING GENERAL }
`
const SUPPLY = (extend: string, external: string) => `
  ${extend} type Offer @key(fields: "id") { id: ID! ${external} free: Int! site: Site! }
  type Site { city: String! bay: String! }
`
const REVIEWS = (extend: string, external: string) => `
  ${extend} type Offer @key(fields: "id") { id: ID! ${external} rating: Float! reviews: [Review!]! }
  type Review { stars: Int! text: String! }
`

/** Federation 2, for composition. */
export const federation2: Readonly<Record<Service, string>> = {
  catalog: LINK + CATALOG,
  supply: LINK + SUPPLY('', ''),
  reviews: LINK + REVIEWS('', ''),
}

/** Federation 1, for who asks for `_service { sdl }`: Mercurius knows no other. */
export const federation1: Readonly<Record<Service, string>> = {
  catalog: CATALOG.replace('type Query', 'extend type Query'),
  supply: SUPPLY('extend', '@external'),
  reviews: REVIEWS('extend', '@external'),
}
