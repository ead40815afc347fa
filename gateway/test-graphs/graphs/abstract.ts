import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const dog: Thing = {
  __typename: 'Dog',
  id: 'd1',
  name: 'Rex',
  age: 3,
  size: 'BIG',
  barks: true,
  weight: 3.5,
}
const pup: Thing = {
  __typename: 'Dog',
  id: 'd2',
  name: null,
  age: null,
  size: 'SMALL',
  barks: null,
  weight: null,
}
const cat: Thing = {
  __typename: 'Cat',
  id: 'c1',
  name: 'Tom',
  age: 5,
  size: 'HIDDEN',
  lives: 9,
  weight: 'light',
  mood: 'calm',
}
const fish: Thing = {
  __typename: 'Fish',
  id: 'f1',
  name: 'Nemo',
  age: 1,
  size: 'SMALL',
  depth: [[1, 2], [3]],
  weight: null,
}
const car: Thing = {
  __typename: 'Car',
  id: 'k1',
  name: 'Beetle',
  age: 40,
  owner: null,
  wheels: 4,
  size: 'BIG',
}
const pets = [dog, cat, fish, pup]
Object.assign(dog, {
  friend: cat,
  friends: [cat, fish, null],
  rival: car,
  home: { __typename: 'Kennel', number: 1, roof: 'red' },
})
Object.assign(pup, {
  friend: failure('NOT_FOUND', 'no such friend'),
  friends: null,
  rival: null,
  home: null,
})
Object.assign(cat, {
  friend: dog,
  friends: [],
  rival: dog,
  home: { __typename: 'House', number: 'II', rooms: 3 },
})
Object.assign(fish, {
  friend: fish,
  friends: [pup, failure('UNAVAILABLE', 'the sea is rough')],
  rival: cat,
  home: { __typename: 'Bowl', number: null, litres: 2 },
})
Object.assign(car, { friend: dog, friends: [dog] })

/** Interfaces and unions whose members, fields and values not every subgraph knows. */
export const abstract: TestGraph = {
  name: 'abstract',
  subgraphs: {
    pets: `
      type Query { pets: [Pet!]! pet(id: ID!): Pet named(size: Size = BIG, filter: Filter): [Named] things: [Thing] }
      interface Node { id: ID! }
      interface Named { name: String }
      interface Pet implements Node & Named { id: ID! name: String friend: Pet friends: [Pet] size: Size home: Home }
      type Dog implements Node & Named & Pet @key(fields: "id") {
        id: ID! name: String friend: Pet friends: [Pet] size: Size home: Home barks: Boolean! rival: Thing }
      type Cat implements Node & Named & Pet @key(fields: "id") {
        id: ID! name: String friend: Pet friends: [Pet] size: Size home: Home lives: Int rival: Dog }
      type Fish implements Node & Named & Pet @key(fields: "id") {
        id: ID! name: String friend: Pet friends: [Pet] size: Size home: Home depth: [[Int]!] }
      type Car @key(fields: "id") { id: ID! }
      union Thing = Dog | Cat | Car
      union Home = Kennel | House | Bowl
      type Kennel { number: Int roof: String } type House { number: String! rooms: Int } type Bowl { number: Float litres: Int! }
      enum Size { SMALL BIG HIDDEN @inaccessible }
      input Filter { name: String = "x", ids: [ID!], size: Size, nested: Filter, onlyHere: Int }`,
    things: `
      type Query { anything: [Thing!] nodes(ids: [ID!] = ["d1", "k1"]): [Node] aged: [Aged!] known: Known }
      interface Node { id: ID! }
      interface Aged implements Node { id: ID! age: Int! }
      type Dog implements Node & Aged @key(fields: "id") { id: ID! age: Int! weight: Float }
      type Cat implements Node & Aged @key(fields: "id") { id: ID! age: Int! weight: String! mood: String }
      type Car implements Node & Aged & Named @key(fields: "id") { id: ID! name: String age: Int! wheels: Int owner: Named }
      interface Named { name: String }
      union Thing = Car | Dog | Cat
      union Known = Dog
      input Filter { name: String = "x", ids: [ID!], size: Size, nested: Filter }
      enum Size { SMALL BIG }
      extend type Query { count(filter: Filter): Int }`,
    wards: `
      type Query { wards: [Known] }
      type Cat @key(fields: "id") { id: ID! ward: Known }
      type Dog @key(fields: "id") { id: ID! ward: Known }
      union Known = Cat | Dog`,
  },
  things: [...pets, car],
  values: { 'Query.pet(id:)': ['d1', 'd2', 'c1', 'f1', 'zz'], ID: ['d1', 'c1', 'k1'] },
  resolvers: {
    'Query.pets': () => pets,
    'Query.pet': (_root, { id }) => pets.find((it) => it.id === id),
    'Query.named': (_root, { size, filter }) =>
      pets.filter((it) => it.size === size || it.name === filter?.name || filter?.nested),
    'Query.things': () => [dog, car, null, cat],
    'Query.anything': () => [car, cat, dog],
    'Query.nodes': (_root, { ids }) =>
      ids?.map((id: string) => [dog, cat, car].find((it) => it.id === id)),
    'Query.aged': () => [car, dog, cat],
    'Query.known': () => dog,
    'Query.wards': () => [cat, dog, null],
    'Query.count': (_root, { filter }) => JSON.stringify(filter ?? null).length,
    'Cat.ward': () => dog,
    'Dog.ward': (it) => (it.id === 'd1' ? cat : null),
  },
  operations: [
    '{ pets { __typename id name size friend { name ... on Dog { barks } ... on Cat { lives } } } }',
    '{ pets { home { __typename ... on Kennel { number roof } ... on House { n: number rooms } ... on Bowl { b: number } } } }',
    '{ things { ... on Dog { weight age } ... on Cat { w: weight mood age } ... on Car { wheels age owner { name } } } }',
    '{ anything { ... on Named { name } ... on Node { id } ... on Aged { age } ... on Pet { size friends { id } } } }',
    '{ nodes { __typename id ... on Pet { home { ... on Kennel { roof } } } ... on Car { wheels } } }',
    '{ aged { id age ... on Pet { friend { ... on Aged { age } } rival: friend { id } } } }',
    '{ known { ... on Dog { ward { __typename ... on Cat { ward { ... on Dog { name } } } } } } wards { ... on Cat { mood lives } ... on Dog { name weight } } }',
    '{ pets { ...P } } fragment P on Pet { ... on Named { ... on Pet { ... on Dog { barks rival { ...T } } } } } fragment T on Thing { __typename ... on Car { name } ... on Cat { name rival { id } } }',
    '{ pets { rival: friend { id } ... on Dog { x: rival { ... on Car { id } ... on Dog { id } } } ... on Cat { x: rival { id } } } }',
    '{ pets { ... on Fish { depth friends { id } } } }',
    '{ named { name } b: named(size: SMALL) { __typename name ... on Pet { id } } count(filter: { name: "q", ids: ["1"] }) }',
    {
      source:
        'query ($f: Filter, $s: Size) { named(size: $s, filter: $f) { name } count(filter: $f) c: count(filter: { size: $s, nested: $f }) }',
      variables: { f: { ids: ['1'], nested: {} }, s: 'SMALL' },
    },
  ],
}
