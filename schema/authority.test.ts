import { composeServices } from '@apollo/composition'
import { buildSchema, parse } from 'graphql'
import { expect, test } from 'vitest'
import { authorityProblems } from './authority.ts'

const HEAD = `
  extend schema
    @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@external", "@requires", "@composeDirective"])
    @link(url: "https://berth.example/specs/authority/v1.0", import: ["@authority"])
    @composeDirective(name: "@authority")
  directive @authority(of: authority__Class!) on FIELD_DEFINITION
  enum authority__Class { PUBLIC ORGANIZATION PERSON }
`
const OFFERS = `
  type Query { offers: [Offer!]! @authority(of: PUBLIC) }
  type Offer @key(fields: "id") {
    id: ID! @authority(of: PUBLIC)
    seller: Seller! @authority(of: PUBLIC)
    discount: Int @authority(of: PERSON)
    note: String
  }
  type Seller { rating: Int @authority(of: ORGANIZATION) }
`

function problems(...texts: readonly string[]): string[] {
  const subgraphs = texts.map((it, i) => ({ name: `s${i}`, typeDefs: parse(HEAD + it) }))
  const { supergraphSdl, errors } = composeServices(subgraphs)
  if (!supergraphSdl) throw new AggregateError(errors ?? [], 'not composed')
  const supergraph = buildSchema(supergraphSdl, { assumeValidSDL: true })
  return authorityProblems(
    supergraph,
    subgraphs.map((it) => it.typeDefs),
  )
}

/** A field of another subgraph that needs these. */
function price(requires: string, authority: string): string {
  const external = ['discount: Int', 'note: String', 'seller: Seller!'].filter((it) =>
    requires.includes(it.split(':', 1)[0] ?? ''),
  )
  return `
    type Offer @key(fields: "id") {
      id: ID! @authority(of: PUBLIC)
      ${external.map((it) => `${it} @external`).join('\n')}
      price: Int @requires(fields: "${requires}") ${authority}
    }
    ${requires.includes('rating') ? 'type Seller { rating: Int @external }' : ''}`
}

test.each([
  ['a narrower field', 'discount', 'PUBLIC', 'Offer.discount, which is PERSON'],
  ['one that says none', 'note', 'ORGANIZATION', 'Offer.note, which is PERSON'],
  ['one below', 'seller { rating }', 'PUBLIC', 'Seller.rating, which is ORGANIZATION'],
])('a field that requires %s does not compose', (_what, requires, of, what) => {
  expect(problems(OFFERS, price(requires, `@authority(of: ${of})`))).toEqual([
    `Offer.price is ${of} and needs ${what}`,
  ])
})

test.each([
  ['as narrow', 'seller { rating }', '@authority(of: ORGANIZATION)'],
  ['narrower itself', 'discount seller { rating } note', ''],
])('a field that is %s may require it', (_what, requires, authority) => {
  expect(problems(OFFERS, price(requires, authority))).toEqual([])
})

test('a field does not compose with a key that is narrower', () => {
  const own = OFFERS.replace('id: ID! @authority(of: PUBLIC)', 'id: ID! @authority(of: PERSON)')
  const stock = `
    type Offer @key(fields: "id") {
      id: ID! @authority(of: PERSON)
      stock: Int @authority(of: ORGANIZATION)
    }`
  expect(problems(own, stock)).toContain(
    'Offer.stock is ORGANIZATION and needs Offer.id, which is PERSON',
  )
})
