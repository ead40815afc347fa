import {
  defaultFieldResolver,
  type GraphQLField,
  type GraphQLFieldResolver,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  isIntrospectionType,
  isObjectType,
} from 'graphql'
import {
  allow,
  atOnce,
  deny,
  forbidden,
  forgetAnswers,
  lib,
  type Rule,
  type Rules,
  type ShieldedContext,
} from './shield-rules.ts'

export {
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
} from './shield-rules.ts'

/**
 * Guards the schema in place and returns it. A field that no rule names is denied; one that is
 * plainly allowed is left unwrapped, since a wrapped field costs, and one whose rule grants it at
 * once is resolved at once, since shield makes each wait several turns. `_entities` and `_service`
 * pass: whether an entity is this tenant's is the service's question, and is asked there always.
 *
 * A subscription is asked about when it opens and again at each event, with nothing remembered.
 *
 * @throws {TypeError} when two rules share a name (messages and traces tell them by it), and an
 * error of shield's when a rule names a type or field that does not exist
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
      const by = ruleOf(tree, type.name, field.name)
      if (isSubscription) guardSubscription(field, guard, by)
      else if (by !== allow) field.resolve = guarding(guard, by, field.resolve)
    }
  }
  return schema
}

type Resolver = GraphQLFieldResolver<unknown, ShieldedContext>
type Guard = (
  resolve: () => unknown,
  parent: unknown,
  args: unknown,
  context: ShieldedContext,
  info: GraphQLResolveInfo,
) => unknown
type MiddlewareMap = Record<string, Record<string, Guard | { resolve: Guard }>>

function guarding(guard: Guard, by: Rule, resolve: Resolver = defaultFieldResolver): Resolver {
  const isGranted = atOnce(by)
  return (parent, args, context, info) =>
    isGranted(context)
      ? resolve(parent, args, context, info)
      : guard(() => resolve(parent, args, context, info), parent, args, context, info)
}

/**
 * Left to itself, shield guards only the `resolve` of a Subscription field that has one, and then
 * anyone may open it.
 */
function guardSubscription(
  field: GraphQLField<unknown, ShieldedContext>,
  guard: Guard,
  by: Rule,
): void {
  const { subscribe, resolve } = field
  if (subscribe) field.subscribe = guarding(guard, by, subscribe)
  const guarded = guarding(guard, by, resolve)
  field.resolve = (parent, args, context, info) => {
    // What was answered at one event does not hold at the next.
    forgetAnswers(context)
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
