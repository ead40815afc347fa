import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getDirectiveValues,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isInterfaceType,
  isListType,
  isObjectType,
} from 'graphql'

/** What a schema says of one field. */
export type FieldCost = {
  /** Of one of it, without what is selected in it. */
  readonly weight: number
  /** Null for a field that is no list: how many are counted where nothing else says. */
  readonly listSize: number | null
  /** `slicingArguments` of `@listSize`: how many there are is the largest that is given. */
  readonly slicing: readonly string[]
  /** Lists directly in it that this size is of; none: the field itself is the list. */
  readonly sized: ReadonlySet<string>
  /** `assumedSize`: how many where no slicing argument says. */
  readonly assumed: number | null
  readonly arguments: ReadonlyMap<string, ArgumentCost>
  readonly type: GraphQLNamedType
}

export type ArgumentCost = { readonly weight: number; readonly initial: unknown }

export type CostRules = (parent: GraphQLNamedType, field: string) => FieldCost | null

/** Names of the directives in a supergraph, which may import them under others. */
export type CostDirectives = { readonly cost: string; readonly listSize: string }

/**
 * `@cost` and `@listSize` of a supergraph (specs.apollo.dev/cost, v0.1). Where nothing is said, an
 * object costs 1 and a scalar nothing. A field of an interface costs as much as the dearest of those
 * that may answer for it.
 *
 * @param assumedSize of lists that say nothing of their size
 */
export function createCostRules(
  schema: GraphQLSchema,
  { directives, assumedSize }: { directives: CostDirectives | null; assumedSize: number },
): CostRules {
  const cost = schema.getDirective(directives?.cost ?? '')
  const listSize = schema.getDirective(directives?.listSize ?? '')
  const known = new Map<GraphQLNamedType, Map<string, FieldCost | null>>()

  return (parent, field) => {
    const fields = known.get(parent) ?? new Map<string, FieldCost | null>()
    known.set(parent, fields)
    const found = fields.get(field)
    if (found !== undefined) return found
    const made = rulesOf(parent, field)
    fields.set(field, made)
    return made
  }

  function rulesOf(parent: GraphQLNamedType, name: string): FieldCost | null {
    const holders = isAbstractType(parent) ? [parent, ...schema.getPossibleTypes(parent)] : [parent]
    const all = holders.flatMap((it) => {
      const field = isObjectType(it) || isInterfaceType(it) ? it.getFields()[name] : undefined
      return field ? [ruleOf(field)] : []
    })
    return all.length === 0 ? null : all.reduce(dearer)
  }

  function ruleOf(field: GraphQLField<unknown, unknown>): FieldCost {
    const type = getNamedType(field.type)
    const size = listSize && field.astNode ? getDirectiveValues(listSize, field.astNode) : undefined
    const { slicingArguments, sizedFields, assumedSize: assumed } = (size ?? {}) as ListSize
    return {
      weight: weightOf(field) ?? weightOf(type) ?? (isCompositeType(type) ? 1 : 0),
      listSize: isListType(getNullableType(field.type)) ? assumedSize : null,
      slicing: slicingArguments ?? [],
      sized: new Set(sizedFields ?? []),
      assumed: assumed ?? null,
      arguments: new Map(field.args.map((it) => [it.name, argumentCost(it)])),
      type,
    }
  }

  function argumentCost(argument: GraphQLArgument): ArgumentCost {
    return { weight: weightOf(argument) ?? 0, initial: argument.defaultValue }
  }

  function weightOf({ astNode }: Weighed): number | undefined {
    if (!cost || !astNode) return undefined
    const { weight } = getDirectiveValues(cost, astNode) ?? {}
    return typeof weight === 'number' ? Math.max(0, weight) : undefined
  }
}

type Weighed = { readonly astNode?: Parameters<typeof getDirectiveValues>[1] | null | undefined }

type ListSize = {
  readonly slicingArguments?: readonly string[] | null
  readonly sizedFields?: readonly string[] | null
  readonly assumedSize?: number | null
}

function dearer(a: FieldCost, b: FieldCost): FieldCost {
  return {
    ...a,
    weight: Math.max(a.weight, b.weight),
    slicing: [...new Set([...a.slicing, ...b.slicing])],
    sized: new Set([...a.sized, ...b.sized]),
    assumed: largest(a.assumed, b.assumed),
    arguments: new Map([...b.arguments, ...a.arguments]),
  }
}

function largest(a: number | null, b: number | null): number | null {
  return a === null ? b : Math.max(a, b ?? a)
}
