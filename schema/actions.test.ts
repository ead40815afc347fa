import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'graphql'
import { expect, test } from 'vitest'
import { type Action, actionNames, actions, factsOf, isAction } from './actions.ts'
import { cedarSchema } from './cedar.ts'

const root = path.join(import.meta.dirname, '..')

/** Where rules and services ask: `mayDo`, the policy client, or a table of what a level needs. */
const asks = [
  /mayDo\('([^']+)'\)/g,
  /\.(?:can|decide)\(\s*[^,()]+,\s*'([^']+)'/g,
  /\b[A-Z]+: '([a-z]+:[a-z-]+)',/g,
]

/** Action → the files that name it. */
const named = new Map<string, string[]>()
/** Those that a service decides by their facts. */
const decided = new Set<string>()
for (const file of globSync('{subgraphs/*,gateway,terminal}/src/**/*.ts', { cwd: root })) {
  if (/generated|\.test\.ts$|\/testing\/|\/test-/.test(file)) continue
  const text = readFileSync(path.join(root, file), 'utf8')
  for (const [, name] of asks.flatMap((it) => [...text.matchAll(it)])) {
    if (name) named.set(name, [...(named.get(name) ?? []), file])
  }
  for (const [, name = ''] of text.matchAll(/\.decide\(\s*[^,()]+,\s*'([^']+)'/g)) decided.add(name)
}

test('rules and services name only actions that there are', () => {
  const strangers = [...named].filter(([name]) => !isAction(name))
  expect(strangers).toEqual([])
})

test('each action is named by a rule or a service', () => {
  expect(actionNames.filter((name) => !named.has(name))).toEqual([])
})

test('what depends on facts is decided by whoever has them: the rules of fields let it pass', () => {
  expect([...decided].sort()).toEqual(
    actionNames.filter((name) => Object.keys(factsOf(name)).length > 0).sort(),
  )
})

test.each(actionNames)('%s says what it is', (name) => {
  const { description, on, scope, facts = {} }: Action = actions[name]
  expect(name).toMatch(/^[a-z]+:[a-z-]+$/)
  expect(description).toMatch(/^[A-Z].*\.$/)
  expect(scope === 'platform').toBe(on === 'Node' || on === 'Platform')
  for (const fact of Object.values(facts)) expect(fact.description).toMatch(/\.$/)
})

test('the schema of rules is as it is generated', () => {
  const read = (name: string) => readFileSync(path.join(import.meta.dirname, name), 'utf8')
  const composed = ['supergraph.graphql', 'api.graphql', 'partner.graphql']
  const subgraphs = globSync('*.graphql', { cwd: import.meta.dirname })
    .filter((name) => !composed.includes(name))
    .sort()
  const schema = cedarSchema(subgraphs.map((name) => parse(read(name))))
  expect(read('policy.cedarschema'), 'run `npm run compose` and commit it').toBe(schema)
})
