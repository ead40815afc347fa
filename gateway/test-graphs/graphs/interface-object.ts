import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const people: Thing[] = [
  {
    __typename: 'Staff',
    id: 's1',
    email: 's1@x',
    name: 'Ann',
    salary: 10,
    score: 7,
    level: 1,
    notes: ['n1'],
  },
  {
    __typename: 'Guest',
    id: 'g1',
    email: 'g1@x',
    name: 'Bob',
    until: 'May',
    score: null,
    level: 2,
    notes: null,
  },
  {
    __typename: 'Guest',
    id: 'g2',
    email: 'g2@x',
    name: 'Cy',
    until: null,
    score: failure('CONFLICT', 'no score'),
    level: 3,
    notes: [],
    absentIn: ['scores'],
  },
  {
    __typename: 'Staff',
    id: 's2',
    email: 's2@x',
    name: 'Di',
    salary: null,
    score: 0,
    level: 4,
    notes: ['a', null],
  },
]
for (const [n, it] of people.entries()) {
  Object.assign(it, {
    boss: people[n + 1] ?? null,
    peer: people[n === 0 ? 1 : (n + 2) % 4],
    team: { __typename: 'Team', id: `t${n % 2}`, members: people.slice(0, 3) },
  })
}
const teams = [0, 1].map((n) => people[n]?.team as Thing)

/** An interface that other subgraphs see as one object: fields for all its types, with requires and key hops. */
export const interfaceObject: TestGraph = {
  name: 'interface-object',
  subgraphs: {
    people: `
      type Query { people: [Person!]! person(id: ID!): Person staff: [Staff] }
      interface Person @key(fields: "id") @key(fields: "email") { id: ID! email: ID! name: String! boss: Person }
      type Staff implements Person @key(fields: "id") @key(fields: "email") {
        id: ID! email: ID! name: String! boss: Person salary: Int }
      type Guest implements Person @key(fields: "id") @key(fields: "email") {
        id: ID! email: ID! name: String! boss: Person until: String }`,
    scores: `
      type Query { ranking: [Person] top: Person }
      type Person @key(fields: "id") @interfaceObject {
        id: ID! name: String! @external score: Int peer: Person shout: String! @requires(fields: "name") }`,
    levels: `
      type Query { levelled(min: Int! = 2): [Person!] }
      type Person @key(fields: "email") @interfaceObject { email: ID! level: Int! notes: [String] team: Team }
      type Team @key(fields: "id") { id: ID! members: [Person!] }`,
    teams: `
      type Query { teams: [Team!] }
      type Team @key(fields: "id") { id: ID! }`,
  },
  bounds: { depth: 4, fields: 8 },
  things: [...people, ...teams],
  values: { ID: ['s1', 'g1', 'g2', 's2', 'no'] },
  resolvers: {
    'Query.people': () => people,
    'Query.person': (_root, { id }) => people.find((it) => it.id === id),
    'Query.staff': () => people.map((it) => (it.__typename === 'Staff' ? it : null)),
    'Query.ranking': () => [people[1], null, people[0], people[3]],
    'Query.top': () => people[1],
    'Query.levelled': (_root, { min }) =>
      people.filter((it) => (it.level as number) >= min && it.id !== 's2'),
    'Query.teams': () => teams,
    'Person.shout': (it) => it.name?.toUpperCase() ?? null,
  },
  operations: [
    '{ people { id score level ... on Staff { salary notes } } }',
    '{ top { __typename id name score } }',
    '{ ranking { __typename score level ... on Guest { until } ... on Staff { salary } } }',
    '{ ranking { score } top { id } }',
    '{ top { ... on Person { score peer { __typename name } } ... on Guest { peer { level } } ... on Staff { score } } }',
    '{ people { shout boss { shout peer { shout score } } } }',
    '{ ranking { shout } }',
    '{ levelled { level score name ... on Staff { boss { level } } } all: levelled(min: 0) { email } }',
    '{ teams { id members { score level __typename } } }',
    '{ staff { score level notes team { members { __typename } } } }',
    'query ($no: Boolean = false) { ranking { ... on Person @include(if: $no) { ... on Staff { score } b: shout } level } }',
    'query ($id: ID = "g1") { b: person(id: $id) { peer { notes } ... on Staff { shout } } }',
    '{ people { ... on Staff { shout score } ... on Guest { score peer { ... on Guest { shout } level } } } }',
    '{ person(id: "s2") { level } p: person(id: "g2") { score name team { id } } }',
  ],
}
