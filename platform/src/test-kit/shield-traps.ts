import {
  type ExecutionResult,
  type GraphQLObjectType,
  type GraphQLSchema,
  graphql,
  parse,
  subscribe,
} from 'graphql'
import { beforeEach, expect, test, vi } from 'vitest'
import { type Actor, anonymous, createActor, OPERATOR_ROLE } from '../actor.ts'
import { DomainError, toGraphQLError } from '../errors.ts'
import { newId } from '../ids.ts'
import { allow, contextRule, deny, type Rules, shieldSchema } from '../shield.ts'
import { type Resolvers, schemaOf } from '../subgraph.ts'
import { fieldsOf, keyOf, objectTypes, selectionOf } from './operations.ts'

/** A subgraph as it is put together, before its rules are. */
export type Unguarded = {
  readonly typeDefs: string
  readonly resolvers: Resolvers
  readonly rules: Rules
}

const everything = createActor({
  kind: 'person',
  subject: newId('usr'),
  organizationId: newId('org'),
  roles: [OPERATOR_ROLE, 'owner'],
})

/**
 * Declares tests of what shield does by itself that it must not: of each root field, entity,
 * subscription and rule of a subgraph, whichever it has. Its own resolvers do not run.
 */
export function testShieldTraps({ typeDefs, resolvers, rules }: Unguarded): void {
  const sdl = schemaOf(typeDefs, {})
  const types = objectTypes(sdl)
  const roots = [sdl.getQueryType(), sdl.getMutationType()].filter((it) => it != null)
  const rootFields = roots.flatMap((on) => fieldsOf(on).map((field) => ({ on, field })))
  const entities = types.filter((it) => keyOf(it))
  const subscriptions = sdl.getSubscriptionType()
  const named = (list: readonly GraphQLObjectType[]) => list.map((it) => [it.name, it] as const)
  const guarded = stubbed(rules)
  const unruled = stubbed({})
  beforeEach(() => void vi.clearAllMocks())

  test('every type is named by the rules, and so is every root field', () => {
    const isRoot = (it: GraphQLObjectType) => [...roots, subscriptions].includes(it)
    const unnamed = types.flatMap((type) => {
      const node = Object.hasOwn(rules, type.name) ? rules[type.name] : undefined
      if (node === undefined) return [type.name]
      if (!isRoot(type) || typeof node.resolve === 'function') return []
      const fields = fieldsOf(type).filter(({ name }) => !Object.hasOwn(node, name))
      return fields.map(({ name }) => `${type.name}.${name}`)
    })
    expect(unnamed).toEqual([])
  })

  test('a field is wrapped if it has a rule, and only then', () => {
    const plain = schemaOf(typeDefs, resolvers)
    const shielded = shieldSchema(schemaOf(typeDefs, resolvers), rules)
    for (const { name } of types.filter((it) => it !== subscriptions)) {
      const before = (plain.getType(name) as GraphQLObjectType).getFields()
      for (const field of fieldsOf(shielded.getType(name) as GraphQLObjectType)) {
        const isWrapped = field.resolve !== before[field.name]?.resolve
        const isRuled = ruleOf(rules, name, field.name) !== allow
        expect(isWrapped, `${name}.${field.name}`).toBe(isRuled)
      }
    }
  })

  test('no rule can be taken for another one of its name', () => {
    for (const name of new Set(namesIn(Object.values(rules)))) {
      const more = { ...rules, PageInfo: contextRule(name, () => true) }
      expect(() => shieldSchema(sdl, more)).toThrow(`two rules are named ${name}`)
    }
  })

  test('with all of Query denied the subgraph still says what it is, and loads by reference', async () => {
    for (const Query of [deny, { '*': deny }]) {
      const { schema } = stubbed({ ...rules, Query })
      const source = entities.length
        ? '{ _service { sdl } _entities(representations: []) { __typename } }'
        : '{ _service { sdl } }'
      expect((await ask(schema, source, anonymous, false)).codes).toEqual([])
    }
  })

  test.each(rootFields.map((it) => [`${it.on.name}.${it.field.name}`, it] as const))(
    '%s is refused before it is resolved, and what it throws is what the client gets',
    async (_path, { on, field }) => {
      const { schema, resolve } = guarded
      const operation = on === sdl.getMutationType() ? 'mutation' : 'query'
      const source = `${operation} { ${selectionOf(on, field)} }`
      const isForAnyone = ruleOf(rules, on.name, field.name) === allow
      const refused = await ask(schema, source, anonymous, false)
      expect(refused.codes).toEqual([isForAnyone ? 'CONFLICT' : 'UNAUTHENTICATED'])
      expect(resolve).toHaveBeenCalledTimes(isForAnyone ? 1 : 0)
      resolve.mockClear()
      expect(await ask(schema, source, everything, true)).toEqual({
        codes: ['CONFLICT'],
        messages: ['as it was thrown'],
      })
      expect(resolve).toHaveBeenCalledOnce()
      expect((await ask(unruled.schema, source, everything, true)).codes).toEqual(['FORBIDDEN'])
      expect(unruled.resolve).not.toHaveBeenCalled()
    },
  )

  test.runIf(entities.length > 0).each(named(entities))(
    '%s is loaded by reference, and its fields are guarded there',
    async (name, type) => {
      expect(resolvers[name]?.__resolveReference, 'its own').toBeTypeOf('function')
      const { schema, load } = guarded
      const of = (it: string) =>
        `{ _entities(representations: [{ __typename: "${name}" }]) { ${it} } }`
      expect((await ask(schema, of('__typename'), anonymous, false)).codes).toEqual([])
      expect(load).toHaveBeenCalledOnce()
      for (const field of fieldsOf(type)) {
        const source = of(`... on ${name} { ${selectionOf(type, field)} }`)
        const isForAnyone = ruleOf(rules, name, field.name) === allow
        const { codes } = await ask(schema, source, anonymous, false)
        expect(codes, field.name).toEqual([isForAnyone ? 'CONFLICT' : 'UNAUTHENTICATED'])
        const granted = await ask(schema, source, everything, true)
        expect(granted.codes, field.name).toEqual(['CONFLICT'])
      }
    },
  )

  const streams = subscriptions ? fieldsOf(subscriptions) : []
  const opened = streams.flatMap((field) =>
    [true, false].map((resolves) => ({ name: field.name, field, resolves })),
  )
  test.runIf(opened.length > 0).each(opened)(
    'Subscription.$name is refused before it opens and asked about at each event (with a resolve of its own: $resolves)',
    async ({ field, resolves }) => {
      const { schema, open } = stubbed(rules, resolves)
      const source = `subscription { ${selectionOf(subscriptions!, field)} }`
      expect((await follow(schema, source, { actor: anonymous, granted: false })).codes).toEqual([
        'UNAUTHENTICATED',
      ])
      expect(open).not.toHaveBeenCalled()
      const context = { actor: everything, granted: true }
      const { events } = await follow(schema, source, context)
      expect(open).toHaveBeenCalledOnce()
      expect((await events!.next()).codes).not.toEqual(['FORBIDDEN'])
      context.granted = false
      expect((await events!.next()).codes).toEqual(['FORBIDDEN'])
    },
  )

  /** The subgraph with resolvers that tell when they are called. */
  function stubbed(by: Rules, withResolve = false) {
    const resolve = vi.fn(() => {
      throw new DomainError('CONFLICT', 'as it was thrown')
    })
    const load = vi.fn((reference: object) => reference)
    const open = vi.fn(async function* () {
      for (;;) yield {}
    })
    const stubs = types.map((type): [string, object] => {
      const stub =
        type === subscriptions ? { subscribe: open, ...(withResolve && { resolve }) } : resolve
      const fields = fieldsOf(type).map((it) => [it.name, stub])
      const reference = keyOf(type) ? { __resolveReference: load } : {}
      return [type.name, { ...Object.fromEntries(fields), ...reference }]
    })
    const schema = shieldSchema(schemaOf(typeDefs, Object.fromEntries(stubs)), by)
    return { schema, resolve, load, open }
  }
}

function ruleOf(rules: Rules, type: string, field: string): unknown {
  const node = rules[type]
  if (node === undefined || typeof node.resolve === 'function') return node
  const fields = node as Readonly<Record<string, unknown>>
  return Object.hasOwn(fields, field) ? fields[field] : fields['*']
}

/** Of `allow` and `deny` there is one each, and they have no name. */
function namesIn(nodes: readonly unknown[]): string[] {
  return nodes.flatMap((node) => {
    if (node === allow || node === deny) return []
    const { name, getRules } = node as { name?: unknown; getRules?: () => unknown[] }
    if (getRules) return namesIn(getRules.call(node))
    return typeof name === 'string' ? [name] : namesIn(Object.values(node as object))
  })
}

async function ask(schema: GraphQLSchema, source: string, actor: Actor, granted: boolean) {
  return shown(
    await graphql({ schema, source, contextValue: { actor, policy: policyOf({ granted }) } }),
  )
}

/** Null for events where it was refused. */
async function follow(
  schema: GraphQLSchema,
  source: string,
  context: { actor: Actor; granted: boolean },
) {
  const contextValue = { actor: context.actor, policy: policyOf(context) }
  const stream = await subscribe({ schema, document: parse(source), contextValue })
  if (!(Symbol.asyncIterator in stream)) return { ...shown(stream), events: null }
  const next = async () => shown((await stream.next()).value as ExecutionResult)
  return { codes: [], messages: [], events: { next } }
}

function policyOf(answer: { readonly granted: boolean }) {
  return { can: () => answer.granted }
}

function shown({ errors = [] }: ExecutionResult) {
  const log = { error: vi.fn() }
  return {
    codes: errors.map((it) => toGraphQLError(it, { requestId: 'r', log }).extensions.code),
    messages: errors.map(({ message }) => message),
  }
}
