import { type ExecutionResult, execute, type GraphQLSchema, graphql, parse } from 'graphql'
import { expect, test, vi } from 'vitest'
import { type Actor, createActor } from './actor.ts'
import { DomainError, toGraphQLError } from './errors.ts'
import { newId } from './ids.ts'
import {
  allow,
  and,
  contextRule,
  isAuthenticated,
  mayDo,
  or,
  type Rules,
  rule,
  shieldSchema,
} from './shield.ts'
import { type Resolvers, schemaOf } from './subgraph.ts'

const SDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  type Query { open: String closed: String fails: String breaks: String things: [Thing!] }
  type Thing @key(fields: "id") { id: ID! plain: String secret: String }
`

const person = createActor({ kind: 'person', subject: newId('usr'), organizationId: newId('org') })

const resolvers: Resolvers = {
  Query: {
    open: () => 'open',
    things: () => [{ id: '1', plain: 'p', secret: 's' }],
  },
}

type Context = {
  actor: Actor
  policy?: { can(actor: Actor, action: string): boolean | Promise<boolean> }
}

function guarded(rules: Rules): GraphQLSchema {
  return shieldSchema(schemaOf(SDL, resolvers), rules)
}

async function ask(
  source: string,
  context: Context = { actor: person },
  schema: GraphQLSchema,
): Promise<{ data: unknown; codes: unknown[] }> {
  const { data, errors = [] } = await graphql({ schema, source, contextValue: context })
  const log = { error: vi.fn() }
  const codes = errors.map((it) => toGraphQLError(it, { requestId: 'r', log }).extensions.code)
  return { data, codes }
}

/** What needs no waiting is answered without a promise. */
function askAtOnce(source: string, context: Context, schema: GraphQLSchema): ExecutionResult {
  const result = execute({ schema, document: parse(source), contextValue: context })
  if (result instanceof Promise) throw new Error('it waits')
  return result
}

test('what is known to be granted is resolved at once, and asked about once per operation', () => {
  const can = vi.fn((_actor: Actor, action: string) => action === 'a:b')
  const schema = guarded({
    Query: {
      open: and(isAuthenticated, or(mayDo('a:c'), mayDo('a:b'))),
      things: mayDo('a:b'),
    },
    Thing: mayDo('a:b'),
  })
  const context = { actor: person, policy: { can } }
  const result = askAtOnce('{ open a: things { id plain } b: things { secret } }', context, schema)
  expect(result.errors).toBeUndefined()
  expect(can.mock.calls.map(([, action]) => action)).toEqual(['a:c', 'a:b'])
})

test.each([false, new DomainError('UNAVAILABLE', 'Not now'), 1, 'yes', {}])(
  'and what is known not to be is refused: %j',
  async (answer) => {
    const refuses = contextRule('refuses', () => answer as boolean)
    const Query = {
      open: refuses,
      closed: and(isAuthenticated, refuses),
      fails: or(refuses, refuses),
      breaks: and(or(allow, refuses), refuses),
    }
    const { data, codes } = await ask('{ open closed fails breaks }', undefined, guarded({ Query }))
    expect(data).toEqual({ open: null, closed: null, fails: null, breaks: null })
    expect(codes).toHaveLength(4)
  },
)

test('what has to be waited for grants nothing until it has come, and is asked about once', async () => {
  for (const granted of [true, false]) {
    const answer = Promise.withResolvers<boolean>()
    const can = vi.fn(() => answer.promise)
    const things = vi.fn(() => [{ id: '1', secret: 's' }])
    const schema = shieldSchema(
      schemaOf(SDL, { ...resolvers, Query: { ...resolvers.Query, things } }),
      { Query: { things: mayDo('a:b') }, Thing: mayDo('a:b') },
    )
    const asked = ask(
      '{ a: things { secret } b: things { id } }',
      { actor: person, policy: { can } },
      schema,
    )
    await new Promise((resolve) => setImmediate(resolve))
    expect(things).not.toHaveBeenCalled()
    answer.resolve(granted)
    const { codes } = await asked
    expect(codes).toEqual(granted ? [] : ['FORBIDDEN', 'FORBIDDEN'])
    expect(things).toHaveBeenCalledTimes(granted ? 2 : 0)
    expect(can).toHaveBeenCalledOnce()
  }
})

test('a rule that depends on more than the context is asked for each field and value', async () => {
  const isFirst = rule('isFirst')<unknown, unknown, { id: string }>(({ id }) => id === '1')
  const things = () => [
    { id: '1', secret: 'a' },
    { id: '2', secret: 'b' },
  ]
  const schema = shieldSchema(
    schemaOf(SDL, { ...resolvers, Query: { ...resolvers.Query, things } }),
    { Query: { things: allow }, Thing: { '*': allow, secret: and(isAuthenticated, isFirst) } },
  )
  expect(await ask('{ things { secret } }', undefined, schema)).toMatchObject({
    data: { things: [{ secret: 'a' }, { secret: null }] },
    codes: ['FORBIDDEN'],
  })
})

test('contexts share no answers, nor do rules of one name in different schemas', async () => {
  const yes = guarded({ Query: { open: contextRule('same', () => true) } })
  const no = guarded({ Query: { open: contextRule('same', () => false) } })
  const context = { actor: person }
  expect((await ask('{ open }', context, yes)).codes).toEqual([])
  expect((await ask('{ open }', context, no)).codes).toEqual(['FORBIDDEN'])
})
