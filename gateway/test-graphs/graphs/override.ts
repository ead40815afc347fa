import type { TestGraph, Thing } from '../graph.ts'

const posts: Thing[] = [1, 2, 3].map((n) => ({
  __typename: 'Post',
  id: `${n}`,
  title: `Post ${n}`,
  body: n === 2 ? null : `Body ${n}`,
  views: n * 100,
  author: { __typename: 'Author', id: `a${n}`, handle: `@${n}` },
  secret: 'never',
  stars: n,
  state: n === 1 ? 'DRAFT' : 'OUT',
  summary: `Body ${n}`.slice(0, 4),
  when: n === 3 ? null : { iso: `2020-0${n}`, epoch: n },
}))
const authors = posts.map((it) => it.author as Thing)

/** `@override` (also progressive, and of an interface's field), `@inaccessible`, `@tag`, `@composeDirective`. */
export const override: TestGraph = {
  name: 'override',
  subgraphs: {
    old: `
      extend schema @link(url: "https://berth.test/mark/v1.0", import: ["@mark"]) @composeDirective(name: "@mark")
      directive @mark(as: String) on FIELD_DEFINITION | OBJECT
      type Query { posts: [Post!]! hidden: Secret @inaccessible post(id: ID!, trace: Trace @inaccessible): Content }
      interface Content { id: ID! body: String }
      type Post implements Content @key(fields: "id") @mark(as: "moved") {
        id: ID! title: String @tag(name: "public") body: String views: Int @mark author: Author
        secret: String @inaccessible state: State @shareable when: When }
      type Author @key(fields: "id") { id: ID! handle: String }
      type Secret @inaccessible { x: Int }
      input Trace @inaccessible { on: Boolean }
      enum State { DRAFT OUT @tag(name: "s") GONE @inaccessible }
      scalar When @specifiedBy(url: "https://berth.test/when")`,
    fresh: `
      type Query { feed(first: Int = 2, states: [State!] = [OUT, DRAFT]): [Content] drafts: [Post] }
      interface Content { id: ID! body: String }
      type Post implements Content @key(fields: "id") {
        id: ID! title: String @override(from: "old") body: String @override(from: "old")
        views: Int @override(from: "old", label: "percent(100)") stars: Int @override(from: "gone")
        author: Author @override(from: "old") state: State @shareable }
      type Author @key(fields: "id") { id: ID! handle: String @override(from: "old") @tag(name: "public") }
      enum State { DRAFT OUT GONE }`,
    later: `
      type Post @key(fields: "id") {
        id: ID! body: String @external 
        summary: String @requires(fields: "body") }`,
  },
  things: [...posts, ...authors],
  resolvers: {
    'Query.posts': () => posts,
    'Query.post': (_root, { id }) => posts.find((it) => it.id === id),
    'Query.feed': (_root, { first, states }) =>
      posts.filter((it) => states?.includes(it.state)).slice(0, Math.max(0, first ?? 0)),
    'Query.drafts': () => [posts[0], null],
    'Post.summary': (it) => it.body?.slice(0, 4) ?? null,
  },
  operations: [
    '{ posts { id title body views author { id handle } stars state when summary } }',
    '{ feed { __typename id body ... on Post { title summary stars when } } }',
    '{ drafts { views when author { handle } summary } post(id: "2") { body ... on Post { summary } } }',
    '{ feed(first: 1, states: [OUT]) { id } all: feed(first: 9, states: null) { id } }',
    '{ __schema { types { name } directives { name } } posts { state } __type(name: "State") { enumValues { name } } }',
  ],
}
