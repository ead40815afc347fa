import type { TestGraph, Thing } from '../graph.ts'

const people: Thing[] = [
  { __typename: 'Staff', id: 's1', name: 'Ann', salary: 10, score: 1 },
  { __typename: 'Guest', id: 'g1', name: 'Bob', until: null, score: null },
]
const teams: Thing[] = people.map((lead, n) => ({
  __typename: 'Team',
  id: `t${n}`,
  lead,
  rest: n === 0 ? people : null,
}))

/** A subgraph that refers to an interface as an object which it cannot resolve. */
export const interfaceStub: TestGraph = {
  name: 'interface-stub',
  subgraphs: {
    people: `
      type Query { person(id: ID!): Person }
      interface Person @key(fields: "id") { id: ID! name: String! }
      type Staff implements Person @key(fields: "id") { id: ID! name: String! salary: Int }
      type Guest implements Person @key(fields: "id") { id: ID! name: String! until: String }`,
    scores: `
      type Person @key(fields: "id") @interfaceObject { id: ID! score: Int }`,
    teams: `
      type Query { teams: [Team!] }
      type Team @key(fields: "id") { id: ID! lead: Person rest: [Person] }
      type Person @key(fields: "id", resolvable: false) @interfaceObject { id: ID! }`,
  },
  things: [...people, ...teams],
  values: { ID: ['s1', 'g1', 'no'] },
  bounds: { depth: 4, fields: 8 },
  resolvers: {
    'Query.person': (_root, { id }) => people.find((it) => it.id === id),
    'Query.teams': () => teams,
  },
  operations: [
    '{ teams { lead { id } } }',
    '{ teams { lead { __typename } } }',
    '{ teams { id lead { __typename id name } rest { score } } }',
    '{ teams { lead { ... on Guest { until } ... on Staff { salary score } } } }',
    '{ teams { rest { ... on Person { score name } } lead { score } } person(id: "g1") { score } }',
  ],
}
