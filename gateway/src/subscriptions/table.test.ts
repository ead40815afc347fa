import { readFileSync } from 'node:fs'
import { ERROR_CODES } from '@berth/platform/errors'
import { parse } from 'graphql'
import { expect, test } from 'vitest'
import { createAuthorityOf } from '../authority.ts'
import { buildGraph } from '../federation/graph.ts'
import { createPlanner, isDurable } from './plan.ts'

const page = readFileSync(new URL('../../../doc/subscriptions.md', import.meta.url), 'utf8')
const graph = buildGraph(
  readFileSync(new URL('../../../schema/supergraph.graphql', import.meta.url), 'utf8'),
)

test('the table of doc/subscriptions.md is what the supergraph says', () => {
  const authorityOf = createAuthorityOf(graph.supergraph)
  const plan = createPlanner(graph, authorityOf)
  const fields = Object.values(graph.schema.getSubscriptionType()?.getFields() ?? {})
  const expected = fields.map((field) => {
    const document = parse(`subscription { ${field.name} { __typename } }`)
    const [definition] = document.definitions
    if (definition?.kind !== 'OperationDefinition') throw new TypeError('no operation')
    const { service, authority } = plan(document, definition)
    const [durable, position] = isDurable(field) ? ['yes', '`cursor` → `after`'] : ['no', '—']
    return `| \`${field.name}\` | ${service} | ${durable} | ${position} | ${authority} |`
  })
  const [, table = ''] = page.split('|---|---|---|---|---|\n')
  expect(table.split('\n\n')[0]?.split('\n').sort()).toEqual(expected.sort())
})

test('the close codes that it tells of are those of the list', () => {
  const told = [...page.matchAll(/^\| (4\d{3}) \|/gm)].map(([, code]) => Number(code))
  const listed = Object.values(ERROR_CODES).map((it): number => it.close)
  const graphqlWs = [4406, 4408, 4409, 4429]
  expect(told.filter((code) => !listed.includes(code) && !graphqlWs.includes(code))).toEqual([])
  expect(told).not.toEqual([])
})
