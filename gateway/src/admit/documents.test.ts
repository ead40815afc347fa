import { buildSchema, Kind, parse } from 'graphql'
import { expect, test } from 'vitest'
import { createDocuments, operationOf } from './documents.ts'

const schema = buildSchema('type Query { offers: Int } type Subscription { offers: Int }')

test('a document is parsed and validated once, while it is among the last that were used', async () => {
  const documents = createDocuments(schema, { hideSchema: false, size: 2 })
  const first = documents.open('{ offers }')
  expect(documents.open('{ offers }')).toBe(first)
  documents.open('{ a: offers }')
  documents.open('{ b: offers }')
  expect(documents.open('{ offers }')).not.toBe(first)
})

test('Apollo Server finds what was opened elsewhere, under its own prefix of the hash', async () => {
  const documents = createDocuments(schema, { hideSchema: false })
  const opened = documents.open('{ offers }')
  const hash = '2b9b2b0b6ac1d7e09d0ee7b2f2c1f3b9a55f4ae1c9c4b62f0d0f3f5e4e1a7c11'
  await documents.store.set(`some-schema:${hash}`, opened)
  expect(await documents.store.get(`other-prefix:${hash}`)).toBe(opened)
})

test.each([
  ['{', 1],
  ['{ ofers }', 1],
  ['{ offers } { offers }', 2],
  // One rule of graphql-js throws here what it should report.
  ['subscription ($no: Boolean!) { offers @skip(if: $no) }', 1],
])('what is not valid is told in GraphQL errors: %s', (source, atLeast) => {
  const documents = createDocuments(schema, { hideSchema: false })
  expect(() => documents.open(source)).toThrow(AggregateError)
  try {
    documents.open(source)
  } catch (error) {
    expect((error as AggregateError).errors.length).toBeGreaterThanOrEqual(atLeast)
  }
})

test('names of the schema are not guessed for a client that may not see it', () => {
  expect(messageOf(true)).toBe('Cannot query field "ofers" on type "Query".')
  expect(messageOf(false)).toContain('"offers"')
})

test('which of several operations is meant must be said', () => {
  const document = parse('query A { offers } query B { offers }')
  expect(operationOf(document, 'B')).toMatchObject({
    kind: Kind.OPERATION_DEFINITION,
    name: { value: 'B' },
  })
  expect(() => operationOf(document, null)).toThrow('several operations')
  expect(() => operationOf(document, 'C')).toThrow('no operation of this name')
})

function messageOf(hideSchema: boolean): string | undefined {
  try {
    createDocuments(schema, { hideSchema }).open('{ ofers }')
  } catch (error) {
    return (error as AggregateError).errors[0]?.message
  }
  return undefined
}
