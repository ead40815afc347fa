import {
  type FieldNode,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isLeafType,
  isObjectType,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import { keyOf } from './names.ts'
import { beforeMember, exactly, objectOf, type Scan, scanLeaf, scanOf } from './scan.ts'
import { fieldOf } from './selections.ts'

/** Answers to an operation of this kind, or with such a plan, are parsed and written. */
export class NotCut extends Error {
  override readonly name = 'NotCut'
}

export const TYPENAME = '__typename'

/** The scan of a field that is passed on as it comes, or passed over. */
export function plain(schema: GraphQLSchema, type: GraphQLObjectType, node: FieldNode): Scan {
  if (node.name.value === TYPENAME) return exactly(JSON.stringify(type.name))
  const of = typeOf(schema, type, node.name.value)
  const named = getNamedType(of)
  if (isLeafType(named)) return scanOf(of, scanLeaf(named), false)
  if (!isObjectType(named) || !node.selectionSet) throw new NotCut()
  const members = fieldsIn(node.selectionSet, named).map((it, index) => ({
    before: beforeMember(index, keyOf(it)),
    scan: plain(schema, named, it),
  }))
  return scanOf(of, objectOf(members), false)
}

export function typeOf(
  schema: GraphQLSchema,
  type: GraphQLObjectType,
  name: string,
): GraphQLOutputType {
  const known = schema.getType(type.name)
  const field = isObjectType(known) ? fieldOf(known, name) : undefined
  if (!field) throw new NotCut()
  return field.type
}

/** What a fetch asks of objects of this type, which must be plain fields. */
export function fieldsIn(
  { selections }: SelectionSetNode,
  type: GraphQLObjectType,
): readonly FieldNode[] {
  const fields = selections.flatMap((it): readonly FieldNode[] => {
    if (it.directives && it.directives.length > 0) throw new NotCut()
    if (it.kind === Kind.FIELD) return [it]
    if (it.kind !== Kind.INLINE_FRAGMENT) throw new NotCut()
    const condition = it.typeCondition?.name.value ?? type.name
    if (condition !== type.name) throw new NotCut()
    return fieldsIn(it.selectionSet, type)
  })
  if (new Set(fields.map(keyOf)).size < fields.length || fields.length === 0) throw new NotCut()
  return fields
}
