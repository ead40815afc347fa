import { type ExecutionResult, type GraphQLSchema, graphql, parse, subscribe } from 'graphql'
import { beforeEach, expect, test, vi } from 'vitest'
import { type Actor, anonymous, createActor, OPERATOR_ROLE } from './actor.ts'
import { DomainError, toGraphQLError } from './errors.ts'
import { newId } from './ids.ts'
import {
  allow,
  and,
  contextRule,
  deny,
  hasRole,
  inOrganization,
  isAuthenticated,
  isOperator,
  mayDo,
  or,
  type Rules,
  rule,
  shieldSchema,
} from './shield.ts'
import { type Resolvers, schemaOf } from './subgraph.ts'

const SDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  type Query { open: String closed: String unruled: String things: [Thing!] fails: String breaks: String }
  type Mutation { change: Boolean }
  type Subscription { ticks: Int resolved: Int things: Thing }
  type Thing @key(fields: "id") { id: ID! plain: String secret: String unruled: Other }
  type Other { value: Int }
`

const person = createActor({ kind: 'person', subject: newId('usr'), organizationId: newId('org') })
const operator = createActor({ kind: 'person', subject: newId('usr'), roles: [OPERATOR_ROLE] })

const loads = vi.fn((reference: { id: string }) => ({ ...reference, plain: 'p', secret: 's' }))
const opens = vi.fn()
beforeEach(() => {
  loads.mockClear()
  opens.mockClear()
})

async function* ticks() {
  opens()
  yield { ticks: 1, resolved: 1, things: { id: '1', plain: 'p', secret: 's' } }
  yield { ticks: 2, resolved: 2, things: { id: '2', plain: 'p', secret: 's' } }
}

const resolvers: Resolvers = {
  Query: {
    open: () => 'open',
    closed: () => 'closed',
    unruled: () => 'unruled',
    things: () => [{ id: '1', plain: 'p', secret: 's' }],
    fails: () => {
      throw new DomainError('CONFLICT', 'It is not a draft')
    },
    breaks: () => {
      throw new Error('hunter2')
    },
  },
  Subscription: {
    ticks: { subscribe: ticks },
    // With a `resolve` of its own: shield by itself leaves its `subscribe` unguarded.
    resolved: { subscribe: ticks, resolve: (event: { resolved: number }) => event.resolved * 10 },
    things: { subscribe: ticks },
  },
  Thing: { __resolveReference: loads, unruled: () => ({ value: 1 }) },
}

const rules: Rules = {
  Query: {
    open: allow,
    closed: deny,
    things: allow,
    fails: isAuthenticated,
    breaks: isAuthenticated,
  },
  Subscription: { ticks: isAuthenticated, resolved: isAuthenticated, things: isAuthenticated },
  Thing: { '*': allow, secret: isOperator },
}

function guarded(change: Rules = {}): GraphQLSchema {
  return shieldSchema(schemaOf(SDL, resolvers), { ...rules, ...change })
}

type Context = { actor: Actor; policy?: { can(actor: Actor, action: string): Promise<boolean> } }

async function ask(source: string, context: Context = { actor: person }, schema = guarded()) {
  return shown(await graphql({ schema, source, contextValue: context }))
}

function shown({ data, errors }: ExecutionResult) {
  const log = { error: vi.fn() }
  return {
    data,
    codes: (errors ?? []).map((e) => toGraphQLError(e, { requestId: 'r', log }).extensions.code),
    messages: (errors ?? []).map(({ message }) => message),
  }
}

const ENTITIES = '_entities(representations: [{__typename: "Thing", id: "1"}])'

test('what no rule names is denied: a root field, a mutation, a whole type', async () => {
  expect(await ask('{ open }')).toMatchObject({ data: { open: 'open' }, codes: [] })
  expect((await ask('{ closed }')).codes).toEqual(['FORBIDDEN'])
  expect((await ask('{ unruled }')).codes).toEqual(['FORBIDDEN'])
  expect((await ask('mutation { change }')).codes).toEqual(['FORBIDDEN'])
  expect((await ask('{ things { unruled { value } } }')).codes).toEqual(['FORBIDDEN'])
})

test('_entities and _service pass, also where everything else of Query is denied', async () => {
  const schema = guarded({ Query: { '*': deny } })
  expect(await ask('{ _service { sdl } }', { actor: anonymous }, schema)).toMatchObject({
    codes: [],
  })
  const entities = await ask(
    `{ ${ENTITIES} { ... on Thing { plain } } }`,
    { actor: person },
    schema,
  )
  expect(entities).toMatchObject({ data: { _entities: [{ plain: 'p' }] }, codes: [] })
  expect((await ask('{ open }', { actor: person }, schema)).codes).toEqual(['FORBIDDEN'])
  const byType = guarded({ Query: deny })
  expect((await ask('{ _service { sdl } }', { actor: person }, byType)).codes).toEqual([])
})

test('the fields of an entity are guarded below _entities', async () => {
  const query = `{ ${ENTITIES} { ... on Thing { plain secret } } }`
  expect(await ask(query)).toMatchObject({
    data: { _entities: [{ plain: 'p', secret: null }] },
    codes: ['FORBIDDEN'],
  })
  expect((await ask(query, { actor: operator })).codes).toEqual([])
})

test('a query for __typename alone loads an entity past every rule: the service must ask whose it is', async () => {
  const schema = guarded({ Thing: deny })
  const result = await ask(`{ ${ENTITIES} { __typename } }`, { actor: anonymous }, schema)
  expect(result).toMatchObject({ data: { _entities: [{ __typename: 'Thing' }] }, codes: [] })
  expect(loads).toHaveBeenCalledOnce()
})

test('two rules cannot share a name', () => {
  const first = contextRule('mayRead', () => true)
  const second = contextRule('mayRead', () => false)
  expect(() => guarded({ Query: { open: first, closed: second } })).toThrow(
    /two rules are named mayRead/,
  )
  expect(() =>
    guarded({ Query: { open: first, closed: and(isAuthenticated, or(second)) } }),
  ).toThrow()
  expect(() => guarded({ Query: { open: first }, Thing: second })).toThrow()
  expect(() =>
    guarded({ Query: { open: hasRole('owner'), closed: hasRole('owner') } }),
  ).not.toThrow()
})

test('a contextual answer does not outlive its context', async () => {
  const asked = vi.fn(({ actor }: Context) => actor === operator)
  const cached = contextRule<Context>('isOne', asked)
  const schema = guarded({ Query: { open: cached } })
  expect((await ask('{ a: open b: open }', { actor: operator }, schema)).codes).toEqual([])
  expect(asked).toHaveBeenCalledOnce()
  expect((await ask('{ open }', { actor: person }, schema)).codes).toEqual(['FORBIDDEN'])
})

test('what a resolver throws passes as it is, and is not made FORBIDDEN', async () => {
  expect(await ask('{ fails }')).toMatchObject({
    codes: ['CONFLICT'],
    messages: ['It is not a draft'],
  })
  expect((await ask('{ breaks }')).codes).toEqual(['INTERNAL'])
})

test('what a rule throws denies with its own code, alone and joined', async () => {
  const unready = rule('unready')(() => {
    throw new DomainError('UNAVAILABLE', 'Not now')
  })
  const broken = rule('broken')(() => {
    throw new TypeError('hunter2')
  })
  const schema = guarded({
    Query: { open: unready, closed: and(allow, unready), fails: or(deny, unready), breaks: broken },
  })
  const { codes } = await ask('{ open closed fails breaks }', { actor: person }, schema)
  expect(codes.sort()).toEqual(['INTERNAL', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE'])
})

test('of rules of which one must grant, one that cannot be asked now outweighs a refusal', async () => {
  const unready = rule('unready')(() => new DomainError('UNAVAILABLE', 'Not now'))
  for (const either of [or(isOperator, unready), or(unready, isOperator)]) {
    const schema = guarded({ Query: { open: either } })
    expect((await ask('{ open }', { actor: person }, schema)).codes).toEqual(['UNAVAILABLE'])
    expect((await ask('{ open }', { actor: operator }, schema)).codes).toEqual([])
  }
})

test('a rule that answers anything but true denies', async () => {
  for (const answer of [undefined, null, 1, 'yes', {}, NaN]) {
    const odd = rule('odd')(() => answer as unknown as boolean)
    const { data } = await ask('{ open }', { actor: person }, guarded({ Query: { open: odd } }))
    expect(data).toEqual({ open: null })
  }
})

test('the named rules say what is missing', async () => {
  const policy = {
    can: async (actor: Actor, action: string) => actor === operator && action === 'a:b',
  }
  const codes = async (by: Rules[string], actor: Actor) =>
    (await ask('{ open }', { actor, policy }, guarded({ Query: by }))).codes.join()
  expect(await codes({ open: isAuthenticated }, anonymous)).toBe('UNAUTHENTICATED')
  expect(await codes({ open: isAuthenticated }, person)).toBe('')
  expect(await codes({ open: inOrganization }, anonymous)).toBe('UNAUTHENTICATED')
  expect(await codes({ open: inOrganization }, operator)).toBe('FORBIDDEN')
  expect(await codes({ open: inOrganization }, person)).toBe('')
  expect(await codes({ open: isOperator }, person)).toBe('FORBIDDEN')
  expect(await codes({ open: isOperator }, operator)).toBe('')
  expect(await codes({ open: mayDo('a:b') }, anonymous)).toBe('UNAUTHENTICATED')
  expect(await codes({ open: mayDo('a:b') }, person)).toBe('FORBIDDEN')
  expect(await codes({ open: mayDo('a:b') }, operator)).toBe('')
  expect(await codes({ open: mayDo('a:c') }, operator)).toBe('FORBIDDEN')
  const lacking = await ask(
    '{ open }',
    { actor: person },
    guarded({ Query: { open: mayDo('a:b') } }),
  )
  expect(lacking.codes).toEqual(['INTERNAL'])
})

test('while the policies cannot be read, nothing is resolved, and the client may try again', async () => {
  const can = async () => Promise.reject(new DomainError('UNAVAILABLE', 'Not now'))
  const schema = guarded({
    Query: { open: mayDo('a:b'), fails: or(mayDo('a:b'), mayDo('a:c')) },
    Mutation: { change: and(isAuthenticated, mayDo('a:b')) },
  })
  const context = { actor: operator, policy: { can } }
  expect(await ask('{ open fails }', context, schema)).toMatchObject({
    data: { open: null },
    codes: ['UNAVAILABLE', 'UNAVAILABLE'],
  })
  expect((await ask('mutation { change }', context, schema)).codes).toEqual(['UNAVAILABLE'])
})

async function open(field: string, context: Context, schema = guarded()) {
  const document = parse(`subscription { ${field} }`)
  const stream = await subscribe({ schema, document, contextValue: context })
  return Symbol.asyncIterator in stream ? stream : shown(stream)
}

test.each(['ticks', 'resolved'])(
  'a subscription to %s is refused before it opens',
  async (field) => {
    expect(await open(field, { actor: anonymous })).toMatchObject({ codes: ['UNAUTHENTICATED'] })
    expect(opens).not.toHaveBeenCalled()
  },
)

test('one without a rule is refused as well', async () => {
  const schema = guarded({ Subscription: {} })
  expect(await open('ticks', { actor: person }, schema)).toMatchObject({ codes: ['FORBIDDEN'] })
  expect(opens).not.toHaveBeenCalled()
})

test('it opens for whom it is for, and its own resolve still runs', async () => {
  const stream = (await open('resolved', { actor: person })) as AsyncGenerator<ExecutionResult>
  expect((await stream.next()).value).toEqual({ data: { resolved: 10 } })
  await stream.return(undefined)
})

test('each event is asked about anew, for the field and below it', async () => {
  const context: { actor: Actor } = { actor: operator }
  const stream = (await open('things { secret }', context)) as AsyncGenerator<ExecutionResult>
  expect((await stream.next()).value).toEqual({ data: { things: { secret: 's' } } })
  context.actor = person
  expect(shown((await stream.next()).value)).toMatchObject({
    data: { things: { secret: null } },
    codes: ['FORBIDDEN'],
  })
  const other = (await open('ticks', context)) as AsyncGenerator<ExecutionResult>
  await other.next()
  context.actor = anonymous
  expect(shown((await other.next()).value)).toMatchObject({
    data: { ticks: null },
    codes: ['UNAUTHENTICATED'],
  })
})

test('a rule for what does not exist is an error at start', () => {
  expect(() => guarded({ Nothing: allow })).toThrow(/Nothing/)
  expect(() => guarded({ Thing: { nothing: allow } })).toThrow(/nothing/)
})

test('an allowed field is left unwrapped, a ruled one is not', () => {
  const plain = schemaOf(SDL, resolvers)
  const fields = guarded().getQueryType()?.getFields()
  expect(fields?.open?.resolve).toBe(plain.getQueryType()?.getFields().open?.resolve)
  expect(fields?.fails?.resolve).not.toBe(plain.getQueryType()?.getFields().fails?.resolve)
})
