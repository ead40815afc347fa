import { type TestGraph, type Thing, WRONG_INT } from '../graph.ts'
import { failure } from './failure.ts'

const broken = failure('UNAVAILABLE', 'broken')
const rows: Thing[] = [
  row(1, { maybe: 1, sure: 1, list: ['a', 'b'], color: 'RED', json: { a: [1, { b: null }] } }),
  row(2, { maybe: broken, sure: 2, list: ['a', broken], color: 'HIDDEN', json: null }),
  row(3, { maybe: null, sure: broken, list: null, color: 'BLUE', json: [] }),
  row(4, { maybe: WRONG_INT, sure: 4, list: [null, 'x'], color: null, json: 'text' }),
  row(5, { maybe: 5, sure: WRONG_INT, list: [], color: 'RED', json: 0, absentIn: ['far'] }),
  row(6, { maybe: 6, sure: null, list: ['q'], color: 'RED', json: 1.5 }),
]

function row(n: number, more: object): Thing {
  return {
    __typename: 'Row',
    id: `${n}`,
    far: n === 2 ? broken : n === 4 ? null : n * 10,
    farMaybe: n === 3 ? broken : `far ${n}`,
    grid: [[n, null, n * 2], [], null],
    cube: n === 3 ? null : [[[n]], [[n, n], []]],
    when: n === 4 ? null : `2020-01-0${n}`,
    amount: n / 3,
    flag: n % 2 === 0,
    big: n === 6 ? 1e20 : n,
    ...more,
  }
}
for (const [n, it] of rows.entries()) {
  const next = rows[(n + 1) % rows.length]
  const value = {
    __typename: 'Value',
    text: `v${n}`,
    number: n === 1 ? null : n,
    inner: n === 2 ? null : { __typename: 'Value', text: 'in', number: n, inner: null },
  }
  Object.assign(it, {
    next,
    sureNext: next,
    all: [next, it],
    sureAll: [it, next],
    value,
    farRows: [rows[0], next].filter((row) => !row?.absentIn),
    deep: [[it, null], [next]],
  })
}

/** Shapes of answers: nulls that bubble within and over subgraphs, leaves that are none, lists of lists. */
export const shapes: TestGraph = {
  name: 'shapes',
  subgraphs: {
    near: `
      type Query { rows: [Row] row(id: ID = "1"): Row sureRows: [Row!] sureRow(id: ID! = "1"): Row! page(of: Page = { size: 2, at: { offset: 1 } }): [Row]
        echo(int: Int = 1, float: Float, ids: [ID!], json: Json = "none", color: Color = RED, colors: [[Color!]!], day: Day): String }
      type Row @key(fields: "id") {
        id: ID! maybe: Int sure: Int! list: [String!] grid: [[Int]] cube: [[[Int!]!]!] color: Color json: Json when: Day
        amount: Float! flag: Boolean! big: Float next: Row sureNext: Row! all: [Row] sureAll: [Row!]! value: Value @shareable deep: [[Row]!] }
      type Value @shareable { text: String! number: Int inner: Value }
      input Page { size: Int! = 1 at: At } input At { offset: Int = 0 after: ID }
      enum Color { RED BLUE HIDDEN @inaccessible }
      scalar Json scalar Day`,
    far: `
      type Query { farRow(color: Color = BLUE): Row farSure: Row! values: [Value!] }
      type Row @key(fields: "id") { id: ID! far: Int! farMaybe: String farRows: [Row!] value: Value @shareable }
      type Value @shareable { text: String! number: Int inner: Value }
      enum Color { RED BLUE HIDDEN }`,
  },
  things: rows,
  values: {
    ID: ['1', '2', '3', '4', '5', '6'],
    Json: [{ a: 'x"y', b: [1, 2.5, null, { c: true }] }, 'z', 7, [[]]],
    Day: ['2020-02-02'],
  },
  resolvers: {
    'Query.rows': () => [...rows, null],
    'Query.row': (_root, { id }) => rows.find((it) => it.id === id),
    'Query.sureRows': () => rows.slice(0, 2),
    'Query.sureRow': (_root, { id }) => rows.find((it) => it.id === id),
    'Query.page': (_root, { of }) =>
      of ? rows.slice(of.at?.offset ?? 0).slice(0, Math.max(0, of.size)) : null,
    'Query.echo': (_root, args) => JSON.stringify(sorted(args)),
    'Query.farRow': (_root, { color }) => rows.find((it) => it.color === color),
    'Query.farSure': () => rows[1],
    'Query.values': () => rows.map((it) => it.value),
  },
  operations: [
    '{ rows { id maybe list color } }',
    '{ rows { sure } }',
    '{ rows { id far } }',
    '{ rows { farMaybe far maybe } }',
    '{ a: row(id: "3") { sure maybe next { far sure } } b: row(id: "6") { sure } }',
    '{ row { sureNext { sureNext { far } } } }',
    '{ row { sureNext { sureNext { sure } } } sureRows { id } }',
    '{ sureRow(id: "3") { sure } rows { id } }',
    '{ sureRows { far farMaybe } }',
    '{ row(id: "4") { all { far } } farSure { id far } }',
    '{ rows { grid cube when json big amount } }',
    '{ row { deep { id far next { farMaybe } } } }',
    '{ farRow { id color farRows { far maybe } } red: farRow(color: RED) { sure value { number inner { text } } } }',
    '{ values { text inner { number } } page { id } p: page(of: { size: 1 }) { id } }',
    '{ echo e: echo(int: null, float: 2, ids: ["1", "2"], json: { q: [1, { r: "s" }] }, color: BLUE, colors: [[RED], []], day: "x") }',
    '{ rows { next { next { color } } next { id } } }',
    '{ rows { __typename value { __typename text } ... on Row { value { number } v: value { inner { text } } } } __typename }',
    {
      source:
        'query ($s: Boolean!, $i: Boolean!) { rows { id id @skip(if: $s) next @include(if: $i) { id } next @skip(if: $s) { far } ... @include(if: $i) { maybe } sure @skip(if: $s) @include(if: $i) } row @skip(if: $s) { id } }',
      variables: { s: true, i: true },
    },
    {
      source:
        'query ($s: Boolean!) { row { ... on Row @include(if: $s) { far next { far } } next @skip(if: $s) { farMaybe } } }',
      variables: { s: false },
    },
    {
      source:
        'query ($j: Json, $c: Color = BLUE, $f: Float, $ids: [ID!] = ["4"]) { echo(json: $j, color: $c, float: $f, ids: $ids) }',
      variables: { j: { a: ['"', null] } },
    },
    {
      source:
        'query ($c: Color, $o: Int, $p: Page) { echo(color: $c, int: $o) page(of: { size: 2, at: { offset: $o } }) { id } q: page(of: $p) { id } }',
      variables: { o: null, p: { at: {} } },
    },
    { source: 'query ($size: Int) { page(of: { size: $size }) { id } }', variables: {} },
    { source: 'query ($c: Color) { echo(color: $c) }', variables: { c: 'HIDDEN' } },
    { source: 'query ($n: Int!) { echo(int: $n) rows { id } }', variables: { n: 'x' } },
  ],
}

function sorted(args: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(args).sort(([a], [b]) => (a < b ? -1 : 1)))
}
