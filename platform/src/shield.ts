import { createRequire } from 'node:module'
import {
  defaultFieldResolver,
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  isIntrospectionType,
  isObjectType,
} from 'graphql'
import type * as GraphqlShield from 'graphql-shield'
import { type Actor, OPERATOR_ROLE, requireOrganization } from './actor.ts'
import { DomainError, ERROR_CODES } from './errors.ts'
import type { PolicyClient } from './policy-client.ts'

// The ESM build imports a name that Node 23 removed, and fails to load; the CommonJS build loads.
// Its `chain` and `race` fail on that name when asked, and its `not` makes a permission of an
// error: none of the three is passed on.
const lib: typeof GraphqlShield = createRequire(import.meta.url)('graphql-shield')

export const { and, allow, deny } = lib

/** A rule, or rules joined by `and` and `or`. */
export type Rule = Parameters<typeof and>[number]

/**
 * Whether one of the rules says yes. When none does, "not now" comes before "no": a refusal would
 * be taken for final, though the rule that could not be asked might have granted it.
 */
export function or(...rules: Rule[]): Rule {
  const joined = lib.or(...rules)
  const evaluate = joined.evaluate.bind(joined)
  joined.evaluate = async (...of) =>
    (await evaluate(...of)).sort((a, b) => Number(mayPass(b)) - Number(mayPass(a)))
  return joined
}

function mayPass(answer: unknown): boolean {
  return answer instanceof DomainError && ERROR_CODES[answer.code].retryable
}

/** For an object type: one rule for all its fields, or one per field and `'*'` for the others. */
export type Rules = Readonly<Record<string, Rule | Readonly<Record<string, Rule>>>>

/** What the named rules of this module read of a context. */
export type RuleContext = { readonly actor: Actor; readonly policy?: PolicyClient }

/**
 * `rule('unique name')(ask)`. What `ask` throws or returns as an error is what the client gets;
 * shield alone would make FORBIDDEN of a thrown one.
 *
 * @param cache `contextual` asks once per operation, so `ask` may depend on the context alone
 */
export function rule(
  name: string,
  { cache = 'no_cache' }: { cache?: 'contextual' | 'no_cache' } = {},
) {
  return <C = RuleContext, A = Record<string, unknown>, P = unknown>(
    ask: (parent: P, args: A, context: C, info: GraphQLResolveInfo) => Answer | Promise<Answer>,
  ): Rule =>
    lib.rule(name, { cache })(async (parent, args, context, info) => {
      try {
        return await ask(parent, args, context, info)
      } catch (error) {
        return error instanceof Error ? error : new Error(String(error))
      }
    })
}

type Answer = boolean | Error

const namedRules = new Map<string, Rule>()

export const isAuthenticated = rule('isAuthenticated', { cache: 'contextual' })(
  (_parent, _args, { actor }) => actor.kind !== 'anonymous' || signIn(),
)

/** The actor is known and acts in an organization. */
export const inOrganization = rule('inOrganization', { cache: 'contextual' })(
  (_parent, _args, { actor }) => requireOrganization(actor) !== null,
)

/** The actor holds at least one of these roles. */
export function hasRole(...roles: [string, ...string[]]): Rule {
  return named(`hasRole(${roles.join()})`, ({ actor }) => {
    if (roles.some((role) => actor.roles.includes(role))) return true
    return actor.kind === 'anonymous' ? signIn() : forbidden(`the role ${roles.join(' or ')}`)
  })
}

export const isOperator = hasRole(OPERATOR_ROLE)

/** The policies grant the actor this action, such as `allocation:create`. */
export function mayDo(action: string): Rule {
  return named(`mayDo(${action})`, async ({ actor, policy }) => {
    if (!policy) throw new TypeError('the context has no policy client')
    if (await policy.can(actor, action)) return true
    return actor.kind === 'anonymous' ? signIn() : forbidden(`the permission ${action}`)
  })
}

/**
 * Guards the schema in place and returns it. A field that no rule names is denied; one that is
 * plainly allowed is left unwrapped, since a wrapped field costs. `_entities` and `_service` pass:
 * whether an entity is this tenant's is the service's question, and is asked there always.
 *
 * A subscription is asked about when it opens and again at each event, with nothing remembered.
 *
 * @throws {TypeError} when two rules share a name (a contextual answer is kept under the name), and
 * an error of shield's when a rule names a type or field that does not exist
 */
export function shieldSchema(schema: GraphQLSchema, rules: Rules): GraphQLSchema {
  checkNames(rules)
  const tree = withFederationFields(schema, rules)
  const middleware = lib
    .shield(tree, {
      debug: false,
      allowExternalErrors: false,
      fallbackRule: deny,
      // Called with null when a rule says no, and with whatever a resolver threw.
      fallbackError: (error) => (error ?? forbidden('a permission that you lack')) as Error,
      hashFunction: () => {
        throw new TypeError('rules with the strict cache are 50 times slower: not offered')
      },
    })
    .generate(schema) as MiddlewareMap
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || isIntrospectionType(type)) continue
    const isSubscription = type === schema.getSubscriptionType()
    for (const field of Object.values(type.getFields())) {
      const guarded = middleware[type.name]?.[field.name]
      if (!guarded) throw new TypeError(`${type.name}.${field.name} has no guard`)
      const guard = typeof guarded === 'function' ? guarded : guarded.resolve
      if (isSubscription) guardSubscription(field, guard)
      else if (ruleOf(tree, type.name, field.name) !== allow) {
        field.resolve = guarding(guard, field.resolve ?? defaultFieldResolver)
      }
    }
  }
  return schema
}

type Resolver = GraphQLFieldResolver<unknown, ShieldedContext>
type ShieldedContext = { _shield?: unknown }
type Guard = (
  resolve: () => unknown,
  parent: unknown,
  args: unknown,
  context: ShieldedContext,
  info: GraphQLResolveInfo,
) => unknown
type MiddlewareMap = Record<string, Record<string, Guard | { resolve: Guard }>>

function guarding(guard: Guard, resolve: Resolver): Resolver {
  return (parent, args, context, info) =>
    guard(() => resolve(parent, args, context, info), parent, args, context, info)
}

/**
 * Left to itself, shield guards only the `resolve` of a Subscription field that has one, and then
 * anyone may open it.
 */
function guardSubscription(field: GraphQLField<unknown, ShieldedContext>, guard: Guard): void {
  const { subscribe, resolve = defaultFieldResolver } = field
  if (subscribe) field.subscribe = guarding(guard, subscribe)
  const guarded = guarding(guard, resolve)
  field.resolve = (parent, args, context, info) => {
    // What was answered at one event does not hold at the next.
    delete context._shield
    return guarded(parent, args, context, info)
  }
}

function withFederationFields(schema: GraphQLSchema, rules: Rules): Record<string, RuleNode> {
  const query = schema.getQueryType()
  if (!query) throw new TypeError('a subgraph has a query type')
  const federation = {
    ...(query.getFields()._entities ? { _entities: allow } : {}),
    ...(query.getFields()._service ? { _service: allow } : {}),
  }
  const given = rules[query.name] ?? {}
  const fields = isRule(given) ? { '*': given } : given
  return {
    ...rules,
    [query.name]: { ...fields, ...federation },
    ...(schema.getType('_Service') ? { _Service: allow } : {}),
  }
}

type RuleNode = Rule | Record<string, Rule>

function ruleOf(tree: Record<string, RuleNode>, type: string, field: string): Rule {
  const node = Object.hasOwn(tree, type) ? tree[type] : undefined
  if (node === undefined) return deny
  if (isRule(node)) return node
  return (Object.hasOwn(node, field) ? node[field] : node['*']) ?? deny
}

function isRule(node: Rule | Readonly<Record<string, Rule>>): node is Rule {
  return typeof node.resolve === 'function'
}

function checkNames(rules: Rules): void {
  const byName = new Map<string, Rule>()
  for (const node of Object.values(rules)) {
    for (const each of isRule(node) ? [node] : Object.values(node)) check(each)
  }
  function check(each: Rule): void {
    if ('getRules' in each) {
      each.getRules().forEach(check)
    } else if ((byName.get(each.name) ?? each) !== each) {
      throw new TypeError(`two rules are named ${each.name}`)
    } else {
      byName.set(each.name, each)
    }
  }
}

/** The same rule each time it is asked for by the same name. */
function named(name: string, ask: (context: RuleContext) => Answer | Promise<Answer>): Rule {
  const known = namedRules.get(name)
  if (known) return known
  const made = rule(name, { cache: 'contextual' })((_parent, _args, context: RuleContext) =>
    ask(context),
  )
  namedRules.set(name, made)
  return made
}

function signIn(): DomainError {
  return new DomainError('UNAUTHENTICATED', 'Sign in to do this')
}

function forbidden(need: string): DomainError {
  return new DomainError('FORBIDDEN', `This needs ${need}`)
}
