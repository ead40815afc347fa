import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  isInterfaceType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  parse,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'

/**
 * What is given to the planner differs from what the client sent, where the planner would mistake
 * the one for what it adds itself: an alias that is the name of a key (`id: name`), a field with
 * arguments that another requires with others, a variable `representations`. Such a field has
 * another name in the plan and its data than in the answer.
 */
export type Names = {
  /** The operation to plan. */
  readonly document: DocumentNode
  /** The client's name of a variable of the plan. */
  variable(planned: string): string
  /** The response name of a field in the plan's data. */
  inData(field: FieldNode): string
  /** The client's of it. */
  shown(key: string): string
}

/** For a plan that was made of the operation as it is. */
export const SAME_NAMES: Omit<Names, 'document'> = Object.freeze({
  variable: (planned: string) => planned,
  inData: keyOf,
  shown: (key: string) => key,
})

export type CreateNames = (
  definition: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
) => Names

export function createNaming(supergraph: GraphQLSchema, api: GraphQLSchema): CreateNames {
  const fields = fieldNames(supergraph)
  const required = requiredWithArguments(supergraph)
  const roots = new Set(
    [supergraph.getQueryType(), supergraph.getMutationType()].flatMap((it) => it?.name ?? []),
  )

  return (definition, fragments) => {
    const document = {
      kind: Kind.DOCUMENT,
      definitions: [definition, ...fragments.values()],
    } as const
    const prefix = freePrefix(document)
    const variable = freeVariable(document)
    const inData = (field: FieldNode) => (isMistaken(field) ? prefix + keyOf(field) : keyOf(field))
    const types = new TypeInfo(api)
    return {
      document: visit(
        document,
        visitWithTypeInfo(types, {
          Field(node) {
            if (!isMistaken(node)) return undefined
            return { ...node, alias: { kind: Kind.NAME, value: prefix + keyOf(node) } }
          },
          Variable(node) {
            if (node.name.value !== OWN) return undefined
            return { ...node, name: { ...node.name, value: variable } }
          },
          // A condition that says nothing makes the planner lose fields of interface objects, and
          // name a root as no subgraph needs to name it.
          InlineFragment: {
            leave({ typeCondition, ...rest }) {
              if (!typeCondition) return undefined
              return types.getParentType()?.name === typeCondition.name.value ? rest : undefined
            },
          },
          FragmentSpread(node) {
            const fragment = fragments.get(node.name.value)
            if (!fragment || !roots.has(fragment.typeCondition.name.value)) return undefined
            const { directives, selectionSet } = fragment
            const all = [...(node.directives ?? []), ...(directives ?? [])]
            return { kind: Kind.INLINE_FRAGMENT, directives: all, selectionSet }
          },
        }),
      ),
      variable: (planned) => (planned === variable ? OWN : planned),
      inData,
      shown: (key) => (key.startsWith(prefix) ? key.slice(prefix.length) : key),
    }
  }

  function isMistaken(field: FieldNode): boolean {
    const key = keyOf(field)
    return key === field.name.value ? required.has(key) : fields.has(key)
  }

  /** No name of the graph or the operation begins with it. */
  function freePrefix(document: DocumentNode): string {
    const names = [...fields]
    visit(document, { Field: (node) => void names.push(keyOf(node)) })
    let prefix = 'c_'
    while (names.some((it) => it.startsWith(prefix))) prefix += '_'
    return prefix
  }
}

const OWN = 'representations'

function freeVariable(document: DocumentNode): string {
  const names = new Set<string>()
  visit(document, { Variable: ({ name }) => void names.add(name.value) })
  let free = `${OWN}_`
  while (names.has(free)) free += '_'
  return free
}

export function keyOf({ alias, name }: FieldNode): string {
  return alias?.value ?? name.value
}

function fieldNames(schema: GraphQLSchema): Set<string> {
  const names = new Set<string>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const name of Object.keys(type.getFields())) names.add(name)
  }
  names.add('__typename')
  return names
}

/** Names of fields that some `@requires` asks for with arguments. */
function requiredWithArguments(schema: GraphQLSchema): Set<string> {
  const names = new Set<string>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const field of Object.values(type.getFields())) {
      for (const { name, arguments: given } of field.astNode?.directives ?? []) {
        const value = given?.find((it) => it.name.value === 'requires')?.value
        if (name.value !== 'join__field' || value?.kind !== Kind.STRING) continue
        visit(parse(`{ ${value.value} }`, { noLocation: true }), {
          Field(node) {
            if ((node.arguments?.length ?? 0) > 0) names.add(node.name.value)
          },
        })
      }
    }
  }
  return names
}
