import {
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type GraphQLSchema,
  getNamedType,
  isInterfaceType,
  isObjectType,
  Kind,
  type ObjectTypeDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'

// From the widest circle of those who may share an answer to the narrowest.
const ORDER = ['PUBLIC', 'ORGANIZATION', 'PERSON']
const PERSON = ORDER.indexOf('PERSON')

/**
 * What is asked for on the way to a field is asked for under that field's `@authority`: a field that
 * needs one of narrower authority (by `@requires`, or by a `@key` of its type) would get what nobody
 * may see, or nothing. A field that says no authority has the narrowest.
 *
 * @param supergraph with the `@authority` directives of all subgraphs
 * @param subgraphs the SDL of each
 * @returns one line for each such field and what it needs
 */
export function authorityProblems(
  supergraph: GraphQLSchema,
  subgraphs: readonly DocumentNode[],
): string[] {
  return subgraphs
    .flatMap((it) => it.definitions)
    .flatMap((it) =>
      it.kind === Kind.OBJECT_TYPE_DEFINITION || it.kind === Kind.OBJECT_TYPE_EXTENSION
        ? problemsOf(it)
        : [],
    )

  function problemsOf({
    name: { value: type },
    directives,
    fields = [],
  }: Pick<ObjectTypeDefinitionNode, 'name' | 'directives' | 'fields'>): string[] {
    const keys = (directives ?? [])
      .filter((it) => it.name.value === 'key' && isResolvable(it))
      .map(fieldsOf)
    const inKeys = new Set(keys.flatMap((it) => needed(type, it).map(({ name }) => name)))
    return fields.flatMap((field) => {
      const name = `${type}.${field.name.value}`
      // It is what others are found by, or comes from elsewhere.
      if (inKeys.has(name) || has(field, 'external')) return []
      const own = rankOf(type, field.name.value)
      const required = (field.directives ?? [])
        .filter((it) => it.name.value === 'requires')
        .map(fieldsOf)
      return [...keys, ...required]
        .flatMap((it) => needed(type, it))
        .filter(({ rank }) => rank > own)
        .map((it) => `${name} is ${ORDER[own]} and needs ${it.name}, which is ${ORDER[it.rank]}`)
    })
  }

  /** Every field of a selection, those of its fields among them. */
  function needed(
    type: string,
    { selections }: SelectionSetNode,
  ): { name: string; rank: number }[] {
    return selections.flatMap((it) => {
      if (it.kind === Kind.FRAGMENT_SPREAD) return []
      if (it.kind === Kind.INLINE_FRAGMENT) {
        return needed(it.typeCondition?.name.value ?? type, it.selectionSet)
      }
      const field = it.name.value
      if (field === '__typename') return []
      const below = it.selectionSet ? needed(typeOf(type, field), it.selectionSet) : []
      return [{ name: `${type}.${field}`, rank: rankOf(type, field) }, ...below]
    })
  }

  function rankOf(type: string, field: string): number {
    const ranks = (definitionOf(type, field)?.astNode?.directives ?? [])
      .filter((it) => it.name.value === 'authority')
      .map((it) => {
        const value = argumentOf(it, 'of')
        return value?.kind === Kind.ENUM ? ORDER.indexOf(value.value) : -1
      })
    return ranks.length === 0 || ranks.includes(-1) ? PERSON : Math.max(...ranks)
  }

  function typeOf(type: string, field: string): string {
    const definition = definitionOf(type, field)
    return definition ? getNamedType(definition.type).name : ''
  }

  function definitionOf(type: string, field: string) {
    const found = supergraph.getType(type)
    return isObjectType(found) || isInterfaceType(found) ? found.getFields()[field] : undefined
  }
}

/** Of `@key` or `@requires`. */
function fieldsOf(directive: ConstDirectiveNode): SelectionSetNode {
  const value = argumentOf(directive, 'fields')
  const text = value?.kind === Kind.STRING ? value.value : '__typename'
  const [operation] = parse(`{ ${text} }`, { noLocation: true }).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new TypeError(`no selection: ${text}`)
  return operation.selectionSet
}

function isResolvable(key: ConstDirectiveNode): boolean {
  const value = argumentOf(key, 'resolvable')
  return value?.kind !== Kind.BOOLEAN || value.value
}

function argumentOf({ arguments: all }: ConstDirectiveNode, name: string) {
  return all?.find((it) => it.name.value === name)?.value
}

function has({ directives }: FieldDefinitionNode, name: string): boolean {
  return (directives ?? []).some((it) => it.name.value === name)
}
