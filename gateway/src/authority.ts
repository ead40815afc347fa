import type { Authority } from '@berth/platform/actor'
import {
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'

export type AuthorityOf = (
  operation: OperationDefinitionNode,
  fragments: readonly FragmentDefinitionNode[],
) => Authority

/**
 * What the answer to an operation may depend on: the narrowest authority among its fields. A field
 * that says none, or that is not known, depends on the person. Fields behind `@skip` and `@include`
 * count: sharing must be safe for every value of a variable.
 *
 * @param supergraph with the `@authority` directives of all subgraphs
 */
export function createAuthorityOf(supergraph: GraphQLSchema): AuthorityOf {
  return (operation, fragments) => {
    const byName = new Map(fragments.map((it) => [it.name.value, it]))
    const seen = new Set<string>()
    let widest = 0
    const root = supergraph.getRootType(operation.operation)
    if (!root) return 'PERSON'
    visit(operation.selectionSet, root)
    return ORDER[widest] ?? 'PERSON'

    function visit({ selections }: SelectionSetNode, type: GraphQLNamedType | undefined): void {
      for (const selection of selections) {
        if (widest === PERSON) return
        if (selection.kind === Kind.FIELD) {
          const name = selection.name.value
          // Introspection is the same for everyone who may ask it.
          if (name.startsWith('__')) continue
          widest = Math.max(widest, rankOf(supergraph, type, name))
          if (selection.selectionSet) visit(selection.selectionSet, typeOfField(type, name))
        } else if (selection.kind === Kind.INLINE_FRAGMENT) {
          const condition = selection.typeCondition?.name.value
          visit(selection.selectionSet, condition ? supergraph.getType(condition) : type)
        } else if (!seen.has(selection.name.value)) {
          seen.add(selection.name.value)
          const fragment = byName.get(selection.name.value)
          if (!fragment) widest = PERSON
          else visit(fragment.selectionSet, supergraph.getType(fragment.typeCondition.name.value))
        }
      }
    }
  }
}

// From the widest circle of those who may share an answer to the narrowest.
const ORDER: readonly Authority[] = ['PUBLIC', 'ORGANIZATION', 'PERSON']
const PERSON = ORDER.indexOf('PERSON')

/** Of an interface's field: its own and those of every type that may answer for it. */
function rankOf(schema: GraphQLSchema, type: GraphQLNamedType | undefined, name: string): number {
  if (!type) return PERSON
  const holders = isAbstractType(type) ? [type, ...schema.getPossibleTypes(type)] : [type]
  const ranks = holders
    .filter((it) => isObjectType(it) || isInterfaceType(it))
    .map((it) => rankOfField(it.getFields()[name]))
  return ranks.length === 0 ? PERSON : Math.max(...ranks)
}

function rankOfField(field: GraphQLField<unknown, unknown> | undefined): number {
  const directive = field?.astNode?.directives?.find((it) => it.name.value === 'authority')
  const value = directive?.arguments?.find((it) => it.name.value === 'of')?.value
  const rank = value?.kind === Kind.ENUM ? ORDER.indexOf(value.value as Authority) : -1
  return rank < 0 ? PERSON : rank
}

function typeOfField(type: GraphQLNamedType | undefined, name: string) {
  if (!isObjectType(type) && !isInterfaceType(type)) return undefined
  const field = type.getFields()[name]
  return field && getNamedType(field.type)
}
