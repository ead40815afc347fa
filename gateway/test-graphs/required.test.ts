import { parse } from 'graphql'
import { expect, test } from 'vitest'
import { openGraph, type TestGraph } from './graph.ts'
import { failure } from './graphs/failure.ts'
import { hardPlans } from './graphs/hard-plans.ts'
import { ourLane } from './lanes.ts'

test.each(['{ items { usd jpy } }', '{ items { usd price eur } }'])(
  'what would be computed from another field’s arguments is refused: %s',
  async (source) => {
    const { dataText, errors } = await answerOf(hardPlans, source)
    expect(dataText).toBeUndefined()
    expect(errors).toEqual([
      expect.objectContaining({
        message: expect.stringMatching(
          /^Item\.\w+ and Item\.\w+ need price with different arguments/,
        ),
        extensions: expect.objectContaining({ code: 'BAD_INPUT' }),
      }),
    ])
  },
)

test('fields that need the same, or that are asked for at different places, are not', async () => {
  const { errors } = await answerOf(hardPlans, '{ items { usd shipping label } a: items { jpy } }')
  expect(errors).toEqual([])
})

const box = { name: failure('UNAVAILABLE', 'no name') }
const crate = { __typename: 'Crate', id: '1', box }

const crates: TestGraph = {
  name: 'crates',
  subgraphs: {
    crates: `
      type Query { crate: Crate }
      type Crate @key(fields: "id") { id: ID! box: Box }
      type Box @shareable { name: String! size: Int }`,
    labels: `
      type Crate @key(fields: "id") { id: ID! box: Box @external label: String @requires(fields: "box { name }") }
      type Box @shareable { name: String! size: Int }`,
  },
  things: [crate],
  resolvers: { 'Query.crate': () => crate, 'Crate.label': () => 'computed all the same' },
  operations: [],
}

test('what is required and failed is told of at what it leaves the client without', async () => {
  const { dataText, errors } = await answerOf(crates, '{ crate { label box { size } } }')
  expect(dataText).toBe('{"crate":{"label":null,"box":null}}')
  expect(errors.map(({ path, message }) => [path?.join('.'), message]).sort()).toEqual([
    ['crate.box', 'no name'],
    ['crate.label', 'no name'],
  ])
})

async function answerOf(definition: TestGraph, source: string) {
  const { run } = ourLane(openGraph(definition))
  return run({ source, document: parse(source), variables: {} })
}
