import { GraphQLError } from 'graphql'
import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

type Dims = { w: number; h: number; unit?: { name: string | GraphQLError } | null }
const rates: Record<string, number> = { EUR: 1, USD: 2, JPY: 100 }
const tags = [
  { __typename: 'Tag', name: 'heavy', weight: 3 },
  { __typename: 'Tag', name: 'light', weight: 1 },
]
const items: Thing[] = [
  item(1, { price: 10, grams: 500, dims: { w: 2, h: 3, unit: { name: 'cm' } }, tags }),
  item(2, { price: null, grams: 0, dims: null, tags: [] }),
  item(3, { price: 7, grams: 20, dims: { w: 1, h: 1, unit: null }, tags: null }),
  item(4, {
    price: 1,
    grams: 3,
    dims: { w: 5, h: 5, unit: { name: 'in' } },
    tags: [tags[1]],
    absentIn: ['shipping'],
  }),
  // What requires what failed is not computed: it fails with it.
  item(5, {
    price: failure('CONFLICT', 'no price'),
    grams: 4,
    dims: { w: 1, h: 2, unit: { name: failure('UNAVAILABLE', 'no name') } },
    tags: [tags[0], { __typename: 'Tag', name: 'odd', weight: failure('FORBIDDEN', 'no scales') }],
  }),
]
for (const [n, it] of items.entries()) Object.assign(it, { next: items[n + 1] ?? null })

function item(n: number, more: object): Thing {
  const media =
    n % 2
      ? { __typename: 'Photo', id: `p${n}`, pixels: n * 100, by: 'Ann' }
      : { __typename: 'Clip', id: `c${n}`, seconds: n, by: n === 4 ? null : 'Bob' }
  return {
    __typename: 'Item',
    id: `${n}`,
    media,
    lists: [[n, n + 1], [], null],
    kind: n % 2 ? 'BOX' : 'BAG',
    ...more,
  }
}

const sizeOf = (dims: Dims | null) =>
  dims?.unit?.name instanceof GraphQLError
    ? dims.unit.name
    : dims
      ? `${dims.w}x${dims.h}${dims.unit?.name ?? ''}`
      : null
const inDollars = (it: Thing) => ({
  grams: it.grams as number,
  price: typeof it.price === 'number' ? it.price * 2 + 0.25 : (it.price as null | GraphQLError),
})
const shippingOf = (it: { grams: number; price: number | null | GraphQLError }) => {
  if (it.price === null || it.price instanceof GraphQLError) return it.price
  return it.grams / 10 + it.price
}

/** `@requires`: of scalars, objects, lists, abstract types, with arguments, and of what requires itself. */
export const requires: TestGraph = {
  name: 'requires',
  subgraphs: {
    items: `
      type Query { items: [Item!]! item(id: ID!): Item }
      type Item @key(fields: "id") {
        id: ID! price(currency: String = "EUR", round: Boolean): Float grams: Int! dims: Dims tags: [Tag!] lists: [[Int!]]
        media: Media next: Item kind: Kind! }
      type Dims @shareable { w: Int! h: Int! unit: Unit }
      type Unit @shareable { name: String }
      type Tag @shareable { name: String! weight: Int }
      enum Kind { BOX BAG }
      interface Media { id: ID! by: String }
      type Photo implements Media @shareable { id: ID! by: String pixels: Int }
      type Clip implements Media @shareable { id: ID! by: String seconds: Int! }`,
    shipping: `
      type Item @key(fields: "id") {
        id: ID! price(currency: String = "EUR", round: Boolean): Float @external grams: Int! @external dims: Dims @external tags: [Tag!] @external
        lists: [[Int!]] @external media: Media @external kind: Kind! @external next: Item @external
        shipping: Float @requires(fields: "price(currency: \\"USD\\") grams")
        size: String @requires(fields: "dims { w h unit { name } }")
        heaviness: Int @requires(fields: "tags { name weight }")
        flat: [Int!] @requires(fields: "lists")
        packing: String @requires(fields: "kind grams")
        credit: String @requires(fields: "media { __typename id by ... on Photo { pixels } ... on Clip { seconds } }")
        nextId: ID @requires(fields: "next { id }") }
      type Dims @shareable { w: Int! h: Int! unit: Unit }
      type Unit @shareable { name: String }
      type Tag @shareable { name: String! weight: Int }
      enum Kind { BOX BAG }
      interface Media { id: ID! by: String }
      type Photo implements Media @shareable { id: ID! by: String pixels: Int }
      type Clip implements Media @shareable { id: ID! by: String seconds: Int! }`,
    labels: `
      type Item @key(fields: "id") {
        id: ID! shipping: Float @external size: String @external
        label: String @requires(fields: "shipping size") }`,
  },
  things: items,
  values: { ID: ['1', '2', '3', '4', '5', '9'], String: ['EUR', 'USD', 'JPY'] },
  resolvers: {
    'Query.items': () => items,
    'Query.item': (_root, { id }) => items.find((it) => it.id === id),
    'Item.price': (it, { currency, round }) => {
      if (typeof it.price !== 'number') return it.price
      const price = it.price * (rates[currency ?? 'EUR'] ?? 0) + 0.25
      return round ? Math.round(price) : price
    },
    // The oracle starts from the data, as the subgraphs' own ones do from representations.
    'Item.shipping': (it) => shippingOf(inDollars(it)),
    'Item.size': (it) => sizeOf(it.dims),
    'Item.heaviness': (it) =>
      it.tags?.find((tag: Thing) => tag.weight instanceof GraphQLError)?.weight ??
      it.tags?.reduce((sum: number, tag: { weight: number }) => sum + tag.weight, 0),
    'Item.flat': (it) => it.lists.flat().filter((n: number | null) => n !== null),
    'Item.packing': (it) => `${it.kind}/${it.grams}`,
    'Item.credit': (it) =>
      `${it.media.__typename} ${it.media.id} ${it.media.by} ${it.media.pixels ?? it.media.seconds}`,
    'Item.nextId': (it) => it.next?.id,
    // What requires what nobody could answer is not asked for.
    'Item.label': (it) =>
      it.absentIn ? null : labelOf({ shipping: shippingOf(inDollars(it)), size: sizeOf(it.dims) }),
  },
  own: {
    shipping: {
      'Item.shipping': shippingOf,
    },
    labels: {
      'Item.label': (it) => labelOf(it),
    },
  },
  operations: [
    '{ items { shipping size heaviness flat } }',
    '{ items { shipping price(currency: "EUR") a: price(currency: "USD", round: true) } }',
    '{ items { label } }',
    '{ items { label shipping price grams dims { w } } }',
    '{ items { credit } }',
    '{ items { credit media { __typename by ... on Clip { s: seconds } ... on Photo { p: pixels } } } }',
    '{ items { next { next { label nextId } nextId } } item(id: "4") { shipping label packing } }',
    {
      source:
        'query ($v: Boolean = false) { items { shipping @include(if: $v) heaviness nextId } item(id: "5") { credit @skip(if: true) label } }',
    },
    '{ item(id: "5") { size flat packing } a: item(id: "5") { dims { w unit { name } } shipping price(currency: "EUR") } }',
    {
      source:
        'query ($c: String, $no: Boolean = false) { items { price(currency: $c) shipping @include(if: $no) label @skip(if: $no) } }',
      variables: { c: 'JPY' },
    },
  ],
}

type Labelled = {
  readonly shipping: number | null | GraphQLError
  readonly size: string | null | GraphQLError
}

function labelOf({ shipping, size }: Labelled): string | GraphQLError {
  for (const it of [shipping, size]) if (it instanceof GraphQLError) return it
  return `${size ?? '?'} for ${shipping ?? '?'}`
}
