import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  isInterfaceType,
  isObjectType,
  Kind,
  type NameNode,
  type OperationDefinitionNode,
  print,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { joined, selectionsOf } from './requirements.ts'

/**
 * What is given to the planner differs from what the client sent, where the planner would mistake
 * the one for what it adds itself: an alias that is the name of a key (`id: name`), a field with
 * arguments that another requires with others, fields of several types that have one response name,
 * a variable `representations`. Such a field has another name in the plan and its data than in the
 * answer.
 */
export type Names = {
  /** The operation to plan. */
  readonly document: DocumentNode
  /** The client's name of a variable of the plan. */
  variable(planned: string): string
  /** The response name of a field in the plan's data. */
  inData(field: FieldNode): string
}

export type CreateNames = (
  definition: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
) => Names

export function createNaming(supergraph: GraphQLSchema, api: GraphQLSchema): CreateNames {
  const fields = fieldNames(supergraph)
  const required = requiredNames(supergraph)
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
    const variants = variantsOf(document)
    const inData = (field: FieldNode) => {
      const key = keyOf(field)
      const variant = variants.get(key)?.indexOf(textOf(field)) ?? 0
      if (variant > 0) return `${prefix}${variant}_${key}`
      return isMistaken(field) ? prefix + key : key
    }
    const types = new TypeInfo(api)
    return {
      document: visit(
        document,
        visitWithTypeInfo(types, {
          Field(node) {
            const name = inData(node)
            if (name === keyOf(node)) return undefined
            return { ...node, alias: { kind: Kind.NAME, value: name } }
          },
          // What conditions left empty: the planner wants something everywhere.
          SelectionSet(node) {
            return node.selections.length > 0 ? undefined : { ...node, selections: [TYPENAME] }
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
    }
  }

  function isMistaken(field: FieldNode): boolean {
    const key = keyOf(field)
    if (key !== field.name.value) return fields.has(key)
    return required.withArguments.has(key) || (required.all.has(key) && hasArguments(field))
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

/**
 * What fields of one response name ask for, where it is not the same: those of different types may,
 * and become fields of one type where a subgraph knows an interface as an object.
 */
function variantsOf(document: DocumentNode): Map<string, string[]> {
  const all = new Map<string, string[]>()
  visit(document, {
    Field(node) {
      const texts = all.get(keyOf(node)) ?? []
      const text = textOf(node)
      if (!texts.includes(text)) all.set(keyOf(node), [...texts, text])
    },
  })
  for (const [key, texts] of all) if (texts.length === 1) all.delete(key)
  return all
}

/** A field and its arguments: the same text for what validation takes for the same. */
export function textOf(field: FieldNode): string {
  const { name, arguments: given = [] } = field
  if (given.length === 0) return name.value
  const sorted: FieldNode = { kind: Kind.FIELD, name, arguments: byName(given) }
  return print(
    visit(sorted, {
      ObjectValue: { leave: (node) => ({ ...node, fields: byName(node.fields) }) },
    }),
  )
}

function byName<T extends { readonly name: NameNode }>(nodes: readonly T[]): readonly T[] {
  return nodes.toSorted((a, b) => (a.name.value < b.name.value ? -1 : 1))
}

const TYPENAME: FieldNode = {
  kind: Kind.FIELD,
  name: { kind: Kind.NAME, value: '__typename' },
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

/** Names of fields that some `@requires` asks for, and those that one asks for with arguments. */
function requiredNames(schema: GraphQLSchema) {
  const all = new Set<string>()
  const withArguments = new Set<string>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const field of Object.values(type.getFields())) {
      for (const { requires } of joined(field.astNode?.directives, 'join__field')) {
        if (!requires) continue
        visit(selectionsOf(requires), {
          Field(node) {
            all.add(node.name.value)
            if (hasArguments(node)) withArguments.add(node.name.value)
          },
        })
      }
    }
  }
  return { all, withArguments }
}

function hasArguments(field: FieldNode): boolean {
  return (field.arguments?.length ?? 0) > 0
}
