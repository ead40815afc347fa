import { buildSchema, Kind, type OperationDefinitionNode, parse, print } from 'graphql'
import { expect, test } from 'vitest'
import { fragmentsOf } from './fragments.ts'
import { serially } from './selections.ts'

const schema = buildSchema(`
  type Query { cart: Cart }
  type Mutation { pay(id: ID): Cart add(id: ID): Cart note: Int }
  type Cart { total: Int label: String }`)

test.each([
  [
    'mutation { a: add { total } ...F note pay { label } } fragment F on Mutation { pay { total } }',
    '{ a: add { total } pay { total label } note }',
  ],
  [
    'mutation { note ... on Mutation { add { ...C } } note add { ...C label } } fragment C on Cart { total }',
    '{ note add { ...C ...C label } }',
  ],
  ['{ cart { total } cart { label } }', '{ cart { total } cart { label } }'],
])(
  'a mutation has each root field once, in its order, and a query is left as it is: %s',
  (source, expected) => {
    const document = parse(source)
    const [definition] = document.definitions as unknown as readonly [OperationDefinitionNode]
    const serial = serially(schema, { definition, fragments: fragmentsOf(document, definition) })
    expect(print(serial.definition.selectionSet).replaceAll(/\s+/g, ' ')).toBe(expected)
    const spread = source.includes('fragment C') ? ['C'] : []
    expect([...serial.fragments.keys()]).toEqual(spread)
    expect(serial.definition.kind).toBe(Kind.OPERATION_DEFINITION)
  },
)
