import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Kind, parse } from 'graphql'
import { expect, test } from 'vitest'
import { auditedMutations, type Exempt } from './testing/audited-mutations.ts'

const subgraphs = readdirSync(import.meta.dirname)
  .filter(
    (name) =>
      name.endsWith('.graphql') && !['api', 'supergraph', 'partner'].includes(name.slice(0, -8)),
  )
  .map((name) => name.slice(0, -8))

test('every mutation of every subgraph says what it writes into the audit, and no other does', () => {
  const inGraph = Object.fromEntries(subgraphs.map((name) => [name, mutationsOf(name)]))
  const inTable = Object.fromEntries(
    Object.entries(auditedMutations).map(([name, table]) => [name, Object.keys(table).sort()]),
  )
  expect(inTable).toEqual(inGraph)
})

test('each names its actions as they are stored, or why there are none', () => {
  const rows = Object.values(auditedMutations).flatMap((table) =>
    Object.entries<readonly string[] | Exempt>(table),
  )
  for (const [mutation, audited] of rows) {
    if ('exempt' in audited) expect(audited.exempt.length, mutation).toBeGreaterThan(20)
    else {
      expect(audited.length, mutation).toBeGreaterThan(0)
      for (const action of audited) expect(action).toMatch(/^[a-z][A-Za-z]*\.[a-z][A-Za-z]*$/)
    }
  }
})

function mutationsOf(subgraph: string): string[] {
  const sdl = readFileSync(path.join(import.meta.dirname, `${subgraph}.graphql`), 'utf8')
  return parse(sdl)
    .definitions.flatMap((it) =>
      (it.kind === Kind.OBJECT_TYPE_DEFINITION || it.kind === Kind.OBJECT_TYPE_EXTENSION) &&
      it.name.value === 'Mutation'
        ? (it.fields ?? [])
        : [],
    )
    .map(({ name }) => name.value)
    .sort()
}
