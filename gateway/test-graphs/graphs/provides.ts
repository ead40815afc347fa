import type { TestGraph, Thing } from '../graph.ts'
import { failure } from './failure.ts'

const users: Thing[] = [
  {
    __typename: 'User',
    id: 'u1',
    name: 'Ann',
    email: 'ann@x',
    address: { city: 'Delft', zip: '1' },
  },
  { __typename: 'User', id: 'u2', name: null, email: 'bob@x', address: null },
  {
    __typename: 'User',
    id: 'u3',
    name: 'Cy',
    email: failure('FORBIDDEN', 'private'),
    address: { city: 'Ghent', zip: null },
  },
]
const bots: Thing[] = [{ __typename: 'Bot', id: 'b1', name: 'Beep', version: 3, maker: users[0] }]
const books: Thing[] = [1, 2, 3].map((n) => ({
  __typename: 'Book',
  id: `${n}`,
  title: `Book ${n}`,
  author: users[n % 3],
  pages: n * 10,
  editor: n === 3 ? null : users[0],
  actors: [users[1], bots[0], users[0]],
}))
const films: Thing[] = [
  { __typename: 'Film', id: '9', title: 'Film', author: bots[0], minutes: 90, editor: users[2] },
]

/** `@provides` on entities, nested, on unions and interfaces; `@external` that is nobody's business. */
export const provides: TestGraph = {
  name: 'provides',
  subgraphs: {
    books: `
      type Query {
        books: [Book!]! withAuthor: [Book] @provides(fields: "author { name address { city } }")
        works: [Work] @provides(fields: "... on Book { title } ... on Film { title }")
        anyone: [Actor!] @provides(fields: "... on User { name } ... on Bot { name }")
        titled: [Titled] @provides(fields: "... on Book { title }") }
      type Book implements Titled @key(fields: "id") {
        id: ID! title: String @external author: User editor: User @provides(fields: "name") actors: [Actor] }
      type Film implements Titled @key(fields: "id") { id: ID! title: String @external minutes: Int }
      interface Titled { id: ID! title: String }
      union Work = Book | Film
      union Actor = User | Bot
      type User @key(fields: "id") { id: ID! name: String @external address: Address @external }
      type Address { city: String @external }
      type Bot @key(fields: "id") { id: ID! name: String @external version: Int }`,
    titles: `
      type Query { latest: Titled }
      type Book implements Titled @key(fields: "id") { id: ID! title: String @shareable pages: Int }
      type Film implements Titled @key(fields: "id") { id: ID! title: String @shareable author: Actor @provides(fields: "... on Bot { maker { email } }") editor: User! }
      interface Titled { id: ID! title: String }
      union Actor = User | Bot
      type User @key(fields: "id") { id: ID! email: String @external }
      type Bot @key(fields: "id") { id: ID! maker: User @shareable }`,
    users: `
      type Query { users: [User] }
      type User @key(fields: "id") { id: ID! name: String @shareable email: String @shareable address: Address @shareable }
      type Address @shareable { city: String zip: String }
      type Bot @key(fields: "id") { id: ID! name: String @shareable }`,
  },
  things: [...users, ...bots, ...books, ...films],
  resolvers: {
    'Query.books': () => books,
    'Query.withAuthor': () => [...books, null],
    'Query.works': () => [...films, null, ...books],
    'Query.anyone': () => [...bots, ...users],
    'Query.titled': () => [books[0], films[0]],
    'Query.latest': () => films[0],
    'Query.users': () => users,
  },
  operations: [
    // The plan asks for the fields of both at one path: an error of what only the other asked for is none.
    '{ b: works { ... on Book { author { address { zip } } } ... on Film { author { __typename ... on User { email } } } } }',
    '{ withAuthor { author { name email address { city zip } } } }',
    '{ withAuthor { title author { id name } editor { name email } } }',
    '{ works { __typename ... on Book { title pages } ... on Film { title minutes } } }',
    '{ works { ... on Titled { id title } } }',
    '{ anyone { ... on User { name email } ... on Bot { name version maker { email name } } } }',
    '{ titled { __typename id title ... on Book { pages author { address { zip } } } ... on Film { minutes editor { email } } } }',
    '{ books { actors { ... on User { id x: name } ... on Bot { v: version } } } latest { title } }',
    '{ latest { ... on Film { minutes author { __typename ... on Bot { maker { email } name } } } } users { email } }',
  ],
}
