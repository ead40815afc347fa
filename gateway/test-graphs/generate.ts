import fc from 'fast-check'
import {
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isLeafType,
  isObjectType,
  isRequiredArgument,
  isUnionType,
  parse,
  validate,
} from 'graphql'
import { type Choices, choicesFrom } from './choices.ts'
import type { OpenGraph } from './graph.ts'
import type { Operation } from './oracle.ts'
import { createValues } from './values.ts'

const MAX_DEPTH = 7
const ALIASES = ['a', 'b', 'c', 'id', 'name']

/**
 * Random valid operations over what clients of the graph see.
 *
 * @param seed the same seed gives the same operations
 */
export function generate(open: OpenGraph, { seed, count }: { seed: number; count: number }) {
  const operations: Operation[] = []
  const seen = new Set<string>()
  for (let round = 0; operations.length < count && round < 50; round += 1) {
    for (const own of fc.sample(seeds, { seed: seed + round, numRuns: count })) {
      if (operations.length === count) break
      const operation = operationOf(open, choicesFrom(own))
      const text = operation && operation.source + JSON.stringify(operation.variables)
      if (!operation || !text || seen.has(text)) continue
      seen.add(text)
      operations.push(operation)
    }
  }
  return operations
}

const seeds = fc.noBias(fc.integer())

function operationOf(open: OpenGraph, choices: Choices): Operation | null {
  const { schema } = open.graph
  const mutation = schema.getMutationType()
  const isMutation = mutation ? choices.chance(0.25) : false
  const root = isMutation ? mutation : schema.getQueryType()
  if (!root) return null
  const values = createValues(open, choices)
  const fragments = new Map<string, { on: string; text: string }>()
  const maxDepth = open.definition.bounds?.depth ?? MAX_DEPTH
  let fieldsLeft = open.definition.bounds?.fields ?? 12 + choices.below(40)

  const selections = selectionSet(root, 0)
  const used = [...fragments].map(([name, { on, text }]) => `fragment ${name} on ${on} ${text}`)
  const source = `${isMutation ? 'mutation' : 'query'}${values.definitions()} ${selections}\n${used.join('\n')}`
  const document = parse(source, { noLocation: true })
  if (validate(schema, document).length > 0) return null
  return { source, document, variables: values.given() }

  function selectionSet(type: GraphQLCompositeType, depth: number): string {
    const count = 1 + choices.below(depth === 0 ? 4 : 5)
    const parts: string[] = []
    const repeatable: { field: GraphQLField<unknown, unknown>; head: string }[] = []
    for (let i = 0; i < count; i += 1) {
      const part = selection(type, depth, repeatable)
      if (part) parts.push(part)
    }
    return parts.length > 0 ? `{ ${parts.join(' ')} }` : '{ __typename }'
  }

  function selection(
    type: GraphQLCompositeType,
    depth: number,
    repeatable: { field: GraphQLField<unknown, unknown>; head: string }[],
  ): string | null {
    if (choices.chance(0.08)) {
      return `${choices.chance(0.3) ? `${choices.of(ALIASES)}: ` : ''}__typename${directives()}`
    }
    if (depth < maxDepth && choices.chance(isAbstractType(type) ? 0.55 : 0.15)) {
      return fragment(type, depth)
    }
    const again = repeatable.length > 0 && choices.chance(0.15) ? choices.of(repeatable) : null
    if (again) return `${again.head}${directives()}${below(again.field, depth)}`
    if (depth === 0 && !isMutation && choices.chance(0.03)) return introspection(schema, choices)

    if (isUnionType(type)) return '__typename'
    const all = Object.values(type.getFields())
    const leaves = all.filter((it) => isLeafType(getNamedType(it.type)))
    const isLast = depth >= maxDepth - 1 || fieldsLeft <= 0
    const fields = isLast ? leaves : all
    if (fields.length === 0) return '__typename'
    fieldsLeft -= 1
    const field = choices.of(fields)
    const alias = choices.chance(0.15) ? `${choices.of(ALIASES)}: ` : ''
    const head = `${alias}${field.name}${args(type, field)}`
    repeatable.push({ field, head })
    return `${head}${directives()}${below(field, depth)}`
  }

  function below(field: GraphQLField<unknown, unknown>, depth: number): string {
    const type = getNamedType(field.type)
    return isCompositeType(type) ? ` ${selectionSet(type, depth + 1)}` : ''
  }

  function fragment(type: GraphQLCompositeType, depth: number): string {
    const fitting = [...fragments].filter(([, { on }]) =>
      conditionsFor(type).some((it) => it.name === on),
    )
    if (fitting.length > 0 && choices.chance(0.25)) {
      return `...${choices.of(fitting)[0]}${directives()}`
    }
    const on = choices.of(conditionsFor(type))
    if (choices.chance(0.2)) {
      const text = selectionSet(on, depth + 1)
      const name = `F${fragments.size}`
      fragments.set(name, { on: on.name, text })
      return `...${name}${directives()}`
    }
    const condition = choices.chance(0.1) ? '' : ` on ${on.name}`
    return `...${condition}${directives()} ${selectionSet(condition ? on : type, depth + 1)}`
  }

  /** The type itself, what it can be, and what those are too: all that a fragment may be on here. */
  function conditionsFor(type: GraphQLCompositeType): GraphQLCompositeType[] {
    if (!isAbstractType(type)) return [type, ...(isObjectType(type) ? abstractsOf(type.name) : [])]
    const possible = schema.getPossibleTypes(type)
    // Objects twice: they are what makes a difference.
    return [type, ...possible, ...possible, ...possible.flatMap((it) => abstractsOf(it.name))]
  }

  function abstractsOf(name: string): GraphQLCompositeType[] {
    return Object.values(schema.getTypeMap()).filter(
      (it): it is GraphQLCompositeType & { name: string } =>
        isAbstractType(it) && schema.getPossibleTypes(it).some((member) => member.name === name),
    )
  }

  function args(type: GraphQLCompositeType, field: GraphQLField<unknown, unknown>): string {
    const given = field.args.flatMap((arg) => {
      if (!isRequiredArgument(arg) && choices.chance(0.3)) return []
      return [`${arg.name}: ${values.argument(type.name, field.name, arg)}`]
    })
    return given.length > 0 ? `(${given.join(', ')})` : ''
  }

  function directives(): string {
    if (!choices.chance(0.1)) return ''
    const one = (name: string) => ` @${name}(if: ${values.condition(name === 'include')})`
    if (choices.chance(0.15)) return one('skip') + one('include')
    return one(choices.of(['skip', 'include']))
  }
}

function introspection(schema: GraphQLSchema, choices: Choices): string {
  const name = choices.of(Object.keys(schema.getTypeMap()))
  return choices.of([
    '__schema { queryType { name } directives { name } }',
    '__schema { types { name kind } mutationType { fields { name } } }',
    `__type(name: "${name}") { name kind fields { name type { kind name ofType { name } } } }`,
    `t: __type(name: "${name}") { __typename possibleTypes { name } enumValues { name } }`,
  ])
}
