import type { Id } from '@berth/platform/ids'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeOneOfEach, type OneOfEach } from '../scenario/one-of-each.ts'
import { openTestPlatform, type TestPlatform } from '../scenario/test-platform.ts'
import { type Answer, type Asker, createAsker } from './authorization/ask.ts'
import { idArguments, idPlacesOf, rootFields } from './authorization/graph.ts'
import { type Outcomes, readMatrix, type Verdict } from './authorization/page.ts'
import { type Column, invitePeople, liftRates } from './authorization/people.ts'
import { type EntityRow, entityRows, type RootRow, rootRows } from './authorization/rows.ts'

const matrix = readMatrix()
const nameOf = (row: RootRow | EntityRow) => `${row.subgraph} ${row.name}`

let berth: TestPlatform
let ask: Asker
let columns: Column[]
let one: OneOfEach
beforeAll(async () => {
  berth = await openTestPlatform()
  ask = createAsker(berth)
  await liftRates(berth)
  const { viewer } = await (await berth.graph('user')).get<{ viewer: { user: { id: string } } }>(
    '{ viewer { user { id } } }',
  )
  // Of a member who stays one.
  one = { ...(await makeOneOfEach(berth)), User: viewer.user.id }
  columns = await invitePeople(berth)
})
afterAll(() => berth?.stop())

test('the page has a line for each root field and each field of an entity, and no other', () => {
  const wanted = [...rootRows, ...entityRows].map(nameOf)
  expect([...matrix.keys()].toSorted()).toEqual(wanted.toSorted())
})

test('of each argument that is an id it is known of what', () => {
  const places = rootFields.flatMap(idPlacesOf).map(({ path }) => path)
  expect(Object.keys(idArguments).toSorted()).toEqual(places.toSorted())
})

test('each root field answers each of them as the page says', async () => {
  const outcomes = await outcomesOf(rootRows, async ({ operation, document }, { credential }) => {
    const by = operation === 'subscription' ? ask.socket : ask.http
    return verdictOf(await by(credential, document))
  })
  expect(outcomes).toEqual(rowsOf(rootRows))
})

test('each entity’s fields, loaded by reference, answer each of them as the page says', async () => {
  const outcomes = await outcomesOf(entityRows, async ({ subgraph, type, keys, selection }, to) => {
    const representation = {
      __typename: type,
      ...Object.fromEntries(keys.map((it) => [it, one[type]])),
    }
    const { data, errors = [] } = await ask.subgraph(
      subgraph,
      to.actorIn(one.Organization as Id<'org'>),
      `query ($it: _Any!) { _entities(representations: [$it]) { ${selection} } }`,
      { it: representation },
    )
    const [entity] = (data?._entities ?? []) as unknown[]
    if (errors.length === 0 && entity === null) return 'none'
    return verdictOf({ data: data ?? null, errors })
  })
  expect(outcomes).toEqual(rowsOf(entityRows))
})

type Row = RootRow | EntityRow

async function outcomesOf<R extends Row>(
  rows: readonly R[],
  probe: (row: R, column: Column) => Promise<Verdict>,
): Promise<Record<string, Outcomes>> {
  const all: Record<string, Outcomes> = {}
  for (const row of rows) {
    const outcomes: Record<string, Verdict> = {}
    // One after the other: what some of these do, a process does for few at a time.
    for (const it of columns) outcomes[it.name] = await probe(row, it)
    all[nameOf(row)] = outcomes
  }
  return all
}

function rowsOf(rows: readonly Row[]): Record<string, Outcomes | undefined> {
  return Object.fromEntries(rows.map((it) => [nameOf(it), matrix.get(nameOf(it))]))
}

/** What says nothing about who may do it: then nothing is known. */
const TROUBLE = [
  'INTERNAL',
  'RATE_LIMITED',
  'TIMEOUT',
  'TOO_COMPLEX',
  'UNAVAILABLE',
  'UPSTREAM_UNAVAILABLE',
]

function verdictOf({ data, errors = [] }: Answer): Verdict {
  const [error] = errors
  if (!error) return 'yes'
  const code = String(error.extensions?.code)
  if (code === 'FORBIDDEN') return 'no'
  if (code === 'UNAUTHENTICATED') return 'sign-in'
  // Without a path it was never asked: the operation is not valid. But for a stream, which is opened
  // or not as a whole: of its cursor it is told once it may be.
  const isAsked = error.path || /cursor of this stream/.test(error.message)
  if (TROUBLE.includes(code) || !isAsked) throw new Error(JSON.stringify({ data, errors }))
  return 'yes'
}
