import {
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  isAbstractType,
  isInterfaceType,
  isObjectType,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import type { Resolved } from './conditions.ts'
import { usedBy } from './fragments.ts'
import { keyOf } from './names.ts'

/** An operation for given values of its conditions. */
export type Selected = Resolved & {
  readonly schema: GraphQLSchema
  /** The response name of a field in the data. */
  readonly inData: (field: FieldNode) => string
}

/** Fields by response name, in the order of the specification (6.3.2). */
export function collect(
  { schema, fragments }: Selected,
  type: GraphQLCompositeType,
  sets: readonly SelectionSetNode[],
): Map<string, FieldNode[]> {
  const fields = new Map<string, FieldNode[]>()
  const seen = new Set<string>()
  for (const set of sets) add(set)
  return fields

  function add({ selections }: SelectionSetNode): void {
    for (const it of selections) {
      if (it.kind === Kind.FIELD) {
        const key = keyOf(it)
        const nodes = fields.get(key)
        if (nodes) nodes.push(it)
        else fields.set(key, [it])
        continue
      }
      if (it.kind === Kind.FRAGMENT_SPREAD) {
        if (seen.has(it.name.value)) continue
        seen.add(it.name.value)
      }
      const fragment = it.kind === Kind.INLINE_FRAGMENT ? it : fragments.get(it.name.value)
      if (fragment && applies(fragment.typeCondition?.name.value)) add(fragment.selectionSet)
    }
  }

  function applies(condition: string | undefined): boolean {
    if (condition === undefined || condition === type.name) return true
    const wider = schema.getType(condition)
    return (
      isAbstractType(wider) &&
      (isObjectType(type) || isInterfaceType(type)) &&
      schema.isSubType(wider, type)
    )
  }
}

export function fieldOf(
  type: GraphQLCompositeType,
  name: string,
): GraphQLField<unknown, unknown> | undefined {
  return isObjectType(type) || isInterfaceType(type)
    ? (type as GraphQLObjectType).getFields()[name]
    : undefined
}

/**
 * A mutation whose root has each field once and no fragments, in the order in which they are to run:
 * the planner does not keep it, nor that fields of one response name are one.
 */
export function serially(schema: GraphQLSchema, { definition, fragments }: Resolved): Resolved {
  const type = schema.getMutationType()
  if (definition.operation !== 'mutation' || !type) return { definition, fragments }
  const of = { schema, definition, fragments, inData: keyOf }
  const selections = [...collect(of, type, [definition.selectionSet]).values()].map(oneOf)
  const selectionSet = { kind: Kind.SELECTION_SET, selections } as const
  const serial = { ...definition, selectionSet }
  return { definition: serial, fragments: usedBy(serial, fragments) }
}

function oneOf(nodes: readonly FieldNode[]): FieldNode {
  const [first, ...others] = nodes as readonly [FieldNode, ...FieldNode[]]
  if (others.length === 0 || !first.selectionSet) return first
  const selections = nodes.flatMap((it) => it.selectionSet?.selections ?? [])
  return { ...first, selectionSet: { kind: Kind.SELECTION_SET, selections } }
}
