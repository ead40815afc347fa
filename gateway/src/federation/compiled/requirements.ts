import {
  type DirectiveNode,
  type GraphQLSchema,
  isEnumType,
  isInterfaceType,
  isObjectType,
  Kind,
  parse,
  type SelectionSetNode,
  valueFromASTUntyped,
} from 'graphql'

/** What the supergraph says that subgraphs need of entities: `@requires` and `@key`. */
export type Requirements = {
  /** What a field requires where a subgraph answers it; null: nothing. */
  of(service: string, type: string, field: string): SelectionSetNode | null
  /** What an entity can be told by in a subgraph. */
  keys(service: string, type: string): readonly SelectionSetNode[]
}

export function createRequirements(supergraph: GraphQLSchema): Requirements {
  const services = servicesOf(supergraph)
  const required = new Map<string, SelectionSetNode>()
  const keys = new Map<string, SelectionSetNode[]>()
  for (const type of Object.values(supergraph.getTypeMap())) {
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const { graph, key, resolvable } of joined(type.astNode?.directives, 'join__type')) {
      if (!key || resolvable === 'false') continue
      const at = `${services.get(graph)} ${type.name}`
      keys.set(at, [...(keys.get(at) ?? []), selectionsOf(key)])
    }
    for (const field of Object.values(type.getFields())) {
      for (const { graph, requires } of joined(field.astNode?.directives, 'join__field')) {
        if (!requires) continue
        required.set(`${services.get(graph)} ${type.name}.${field.name}`, selectionsOf(requires))
      }
    }
  }
  return {
    of: (service, type, field) => required.get(`${service} ${type}.${field}`) ?? null,
    keys: (service, type) => keys.get(`${service} ${type}`) ?? [],
  }
}

/** Subgraphs' names, by those that the supergraph's own directives have for them. */
export function servicesOf(supergraph: GraphQLSchema): Map<string, string> {
  const graphs = supergraph.getType('join__Graph')
  const names = new Map<string, string>()
  for (const { name, astNode } of isEnumType(graphs) ? graphs.getValues() : []) {
    const [graph] = joined(astNode?.directives, 'join__graph')
    if (graph) names.set(name, graph.name)
  }
  return names
}

/** The texts of a directive's arguments, each time that it stands there; '' where there is none. */
export function joined(
  directives: readonly DirectiveNode[] | undefined,
  directive: string,
): Record<'graph' | 'name' | 'key' | 'requires' | 'resolvable', string>[] {
  const all = (directives ?? []).filter((it) => it.name.value === directive)
  return all.map((it) => {
    const given = new Map(
      it.arguments?.map(({ name, value }) => [name.value, valueFromASTUntyped(value)]),
    )
    const text = (name: string) => String(given.get(name) ?? '')
    return {
      graph: text('graph'),
      name: text('name'),
      key: text('key'),
      requires: text('requires'),
      resolvable: text('resolvable'),
    }
  })
}

export function selectionsOf(text: string): SelectionSetNode {
  const [operation] = parse(`{ ${text} }`, { noLocation: true }).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new TypeError(`no selection: ${text}`)
  return operation.selectionSet
}
