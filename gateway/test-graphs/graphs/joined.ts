import type { TestGraph, Thing } from '../graph.ts'

type Person = Thing & { readonly items: () => unknown; readonly friend: () => unknown }
type Item = Thing & Record<string, unknown>

/** Their texts need escapes, and more than ASCII; some are equal to others of the same list. */
const people: readonly Person[] = [0, 1, 2, 3].map((n) => ({
  __typename: 'Person',
  id: `p${n}ö"\n`,
  mail: `${n}@é.test`,
  level: n % 2,
  born: n === 3 ? null : n * 1_000_003,
  score: n + 0.25,
  mood: n % 2 === 0 ? 'HAPPY' : 'SAD',
  secret: `s${n}`,
  tag: n === 3 ? null : `漢${n}😀`,
  items: () => [items[n], items[(n + 3) % 6]],
  friend: () => (n === 1 ? null : people[(n + 1) % 4]),
}))
const items: readonly Item[] = [0, 1, 2, 3, 4, 5].map((n) => ({
  __typename: 'Item',
  code: n,
  lot: `l${n % 2}`,
  title: `t\\${n}`,
  weight: n * 1.5,
  freight: n * 2,
  size: n === 2 ? null : { w: n, h: n / 3 },
  tags: n % 3 === 0 ? [] : ['a', `ü${n}`],
  grid: [[1, n], [], [null]],
  any: n % 2 === 0 ? n : `x${n}`,
  price: { amount: `${n}.00`, currency: 'EUR' },
  seller: people[n % 4],
  buyers: [people[(n + 1) % 4], people[n % 4], people[(n + 1) % 4]],
  alike: () => [
    [items[(n + 1) % 6], null],
    [items[(n + 2) % 6], items[(n + 1) % 6]],
  ],
  notes: [
    { text: 'tëxt', by: people[(n + 2) % 4] },
    { text: '', by: people[n % 4] },
  ],
}))

/**
 * No abstract types, and no field of two subgraphs: most of what is answered is put together of what
 * subgraphs wrote. They are told of what clients do not ask for, or may not see.
 */
export const joined: TestGraph = {
  name: 'joined',
  subgraphs: {
    shop: `
      scalar Any
      type Query { items: [Item!]! item: Item rows: [[Item]!] some: [Item] }
      type Item @key(fields: "code lot") {
        code: Int! lot: String! title: String! weight: Float size: Size any: Any tags: [String!]!
        grid: [[Int]!]! seller: Person! alike: [[Item]!] }
      type Size { w: Int! h: Float @inaccessible }
      type Person @key(fields: "id") { id: ID! }`,
    people: `
      enum Mood { HAPPY SAD GLUM @inaccessible }
      type Query { me: Person people: [Person!]! }
      type Person @key(fields: "id") @key(fields: "mail") {
        id: ID! mail: String! level: Int! born: Int score: Float! mood: Mood tag: String
        secret: String @inaccessible friend: Person }`,
    market: `
      type Item @key(fields: "code lot") {
        code: Int! lot: String! weight: Float @external freight: Float @requires(fields: "weight")
        price: Money! buyers: [Person!]! notes: [Note!] }
      type Money { amount: String! currency: String! }
      type Note { text: String by: Person }
      type Person @key(fields: "mail") {
        mail: String! secret: String @external level: Int! @external
        items: [Item] rank: Int @requires(fields: "secret level") }`,
  },
  things: [...people, ...items],
  resolvers: {
    'Query.items': () => items,
    'Query.item': () => items[1],
    'Query.rows': () => [[items[0], items[1]], [null, items[0]], []],
    'Query.some': () => [items[3], null, items[3], items[4]],
    'Query.me': () => people[1],
    'Query.people': () => people,
    'Item.alike': (item: { alike: () => unknown }) => item.alike(),
    'Person.items': (person: Person) => person.items(),
    'Person.friend': (person: Person) => person.friend(),
    'Person.rank': ({ level }: { level: number }) => level * 10,
  },
  operations: [
    '{ items { title freight price { currency amount } seller { tag born } buyers { mail score } } }',
    '{ rows { title weight price { amount } seller { name: tag mood friend { tag rank } } } me { mail items { title freight notes { text by { tag } } } } }',
    '{ some { s: seller { a: born b: level } seller { mood } notes { by { mail id tag } text } freight alike { title price { currency } } } people { items { code any tags } rank } }',
    '{ item { lot title buyers { items { freight buyers { tag } } } grid } b: item { freight } }',
    '{ items { __typename x: __typename freight weight } people { __typename id items { __typename t: title } } }',
    'query ($yes: Boolean = true, $no: Boolean = false) { items { title @skip(if: $no) freight @include(if: $yes) seller { tag @include(if: $no) rank } } }',
    '{ items { size { w } any grid tags alike { code freight } } }',
  ],
}
