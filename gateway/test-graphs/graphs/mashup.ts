import type { TestGraph, Thing } from '../graph.ts'

const cs: Thing[] = [
  {
    __typename: 'Gear',
    id: 'g1',
    serial: 's1',
    mark: { maker: 'x', year: 1 },
    teeth: 12,
    ratio: 0.5,
    noise: 'low',
  },
  {
    __typename: 'Gear',
    id: 'g2',
    serial: 's2',
    mark: { maker: 'y', year: 2 },
    teeth: 20,
    ratio: 2,
    noise: null,
  },
]
const engines: Thing[] = [
  { __typename: 'Engine', id: 'e1', code: 'c1', gears: cs, power: 100, owner: 'Ann', main: cs[0] },
  {
    __typename: 'Engine',
    id: 'e2',
    code: 'c2',
    gears: [cs[1], null],
    power: 50,
    owner: 'Bob',
    main: null,
  },
  {
    __typename: 'Engine',
    id: 'e3',
    code: 'c3',
    gears: null,
    power: 1,
    owner: 'Cy',
    main: cs[1],
    absentIn: ['owners'],
  },
]
const books: Thing[] = [1, 2, 3].map((n) => ({
  __typename: 'Volume',
  id: `${n}`,
  upc: `u${n}`,
  writer: n === 2 ? null : { __typename: 'Writer', id: `w${n}`, name: `Writer ${n}` },
  absentIn: n === 1 ? ['index', 'writers'] : n === 3 ? ['writers'] : [],
}))

/** Several keys of one entity, that overlap and of which no subgraph has all; references that end in null. */
export const mashup: TestGraph = {
  name: 'mashup',
  subgraphs: {
    gears: `
      type Query { gears: [Gear!] engine: Engine engines: [Engine!]! }
      type Gear @key(fields: "id") @key(fields: "serial") @key(fields: "mark { maker year }") @key(fields: "id mark { maker year }") {
        id: ID! serial: ID! mark: Mark! teeth: Int! }
      type Mark @shareable { maker: ID! year: Int! }
      type Engine @key(fields: "id") @key(fields: "code") { id: ID! code: ID! power: Int! }`,
    ratios: `
      type Query { ratios: [Gear] }
      type Gear @key(fields: "id") @key(fields: "mark { maker year }") @key(fields: "mark { maker year } id") {
        id: ID! mark: Mark! ratio: Float }
      type Mark @shareable { maker: ID! year: Int! }
      type Engine @key(fields: "code") { code: ID! gears: [Gear] main: Gear }`,
    noises: `
      type Gear @key(fields: "serial") { serial: ID! noise: String! }
      type Engine @key(fields: "id") { id: ID! loudest: Gear }`,
    owners: `type Engine @key(fields: "id code") { id: ID! code: ID! owner: String! }`,
    shelf: `
      type Query { shelf: [Box] }
      type Box { volume: Volume }
      type Volume @key(fields: "upc") { upc: ID! }`,
    index: 'type Volume @key(fields: "id") @key(fields: "upc") { id: ID! upc: ID! }',
    writers: `
      type Volume @key(fields: "id") { id: ID! writer: Writer }
      type Writer @key(fields: "id") { id: ID! name: String }`,
  },
  things: [...cs, ...engines, ...books],
  resolvers: {
    'Query.gears': () => cs,
    'Query.ratios': () => [cs[1], null, cs[0]],
    'Query.engine': () => engines[0],
    'Query.engines': () => engines,
    'Query.shelf': () => [...books.map((volume) => ({ volume })), null, { volume: null }],
    'Engine.loudest': () => cs[1],
  },
  operations: [
    '{ engine { id gears { id serial teeth ratio noise mark { year } } } }',
    '{ engines { owner power main { noise ratio teeth } loudest { ratio noise } gears { teeth noise } } }',
    '{ ratios { id teeth noise serial mark { maker year } } gears { ratio noise } }',
    '{ engines { main { id } gears { mark { maker } } code } }',
    '{ shelf { volume { upc } } }',
    '{ shelf { volume { upc writer { name } } } }',
    '{ shelf { volume { id upc writer { id __typename } } } }',
  ],
}
