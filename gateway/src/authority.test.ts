import { readFileSync } from 'node:fs'
import { buildSchema, getOperationAST, Kind, parse } from 'graphql'
import { expect, test } from 'vitest'
import { createAuthorityOf } from './authority.ts'
import { buildGraph } from './federation/graph.ts'

const supergraph = new URL('../../schema/supergraph.graphql', import.meta.url)
const composed = buildGraph(readFileSync(supergraph, 'utf8')).supergraph

const small = buildSchema(`
  directive @authority(of: Class!) on FIELD_DEFINITION
  enum Class { PUBLIC ORGANIZATION PERSON }
  interface Named { name: String @authority(of: PUBLIC) }
  type Plain implements Named { name: String @authority(of: PUBLIC) }
  type Secret implements Named { name: String }
  type Team implements Named {
    name: String @authority(of: ORGANIZATION)
    plain: Plain @authority(of: PUBLIC)
  }
  union Thing = Plain | Team
  type Query {
    plain: Plain @authority(of: PUBLIC)
    team: Team @authority(of: PUBLIC)
    named: Named @authority(of: PUBLIC)
    thing: Thing @authority(of: PUBLIC)
    unsaid: String
  }
`)

test.each([
  ['{ plain { name } }', 'PUBLIC'],
  ['{ __typename plain { __typename } }', 'PUBLIC'],
  ['{ plain { name } team { name } }', 'ORGANIZATION'],
  ['{ team { plain { name } } }', 'PUBLIC'],
  ['{ plain { name } unsaid }', 'PERSON'],
  ['{ named { name } }', 'PERSON'],
  ['{ thing { ... on Plain { name } } }', 'PUBLIC'],
  ['{ thing { ... on Team { name } } }', 'ORGANIZATION'],
  ['query ($no: Boolean!) { plain { name } unsaid @include(if: $no) }', 'PERSON'],
  ['{ ...A } fragment A on Query { team { ...B } } fragment B on Team { name }', 'ORGANIZATION'],
  ['{ ...A } fragment A on Query { unsaid }', 'PERSON'],
  ['{ ...Unknown }', 'PERSON'],
  ['{ nothing }', 'PERSON'],
  ['{ plain { nothing } }', 'PERSON'],
])('%s is %s', (source, authority) => {
  expect(authorityOf(small, source)).toBe(authority)
})

test.each([
  ['{ offers { nodes { available gpuModel { name pricePerHour { amount } } } } }', 'PUBLIC'],
  ['{ allocations { nodes { id cost { amount } createdBy { name } } } }', 'ORGANIZATION'],
  ['{ offers { nodes { id } } viewer { roles } }', 'PERSON'],
  ['{ organization { id members { nodes { id } } } }', 'PERSON'],
  ['mutation { sshKeyRemove(input: { id: "x" }) { sshKeyId } }', 'PERSON'],
  [
    'subscription { allocationUpdated { cursor allocation { id cost { amount } } } }',
    'ORGANIZATION',
  ],
  ['subscription { inbox { cursor } }', 'PERSON'],
])('of the product: %s is %s', (source, authority) => {
  expect(authorityOf(composed, source)).toBe(authority)
})

function authorityOf(schema: typeof small, source: string): string {
  const document = parse(source)
  const operation = getOperationAST(document)
  if (!operation) throw new TypeError('no operation')
  const fragments = document.definitions.filter((it) => it.kind === Kind.FRAGMENT_DEFINITION)
  return createAuthorityOf(schema)(operation, fragments)
}
