import { buildSubgraphSchema } from '@apollo/subgraph'
import {
  type DirectiveNode,
  type DocumentNode,
  type FieldNode,
  type GraphQLSchema,
  isAbstractType,
  Kind,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { resolverOf, type TestGraph, type Thing } from './graph.ts'

type Field = { readonly isExternal: boolean }
/** What a subgraph's SDL says of its types' fields, by type and field. */
export type Fields = Readonly<Record<string, Readonly<Record<string, Field>>>>

/** One subgraph: its own fields by the shared resolvers over the shared data. */
export function subgraphSchema(
  definition: TestGraph,
  { name, typeDefs, api }: { name: string; typeDefs: DocumentNode; api: GraphQLSchema },
): GraphQLSchema {
  const shared = { ...definition.resolvers, ...definition.own?.[name] }
  const fields = fieldsOf(typeDefs)
  const keys = keysOf(typeDefs)
  const roots = rootsOf(typeDefs)
  const resolvers: Record<string, Record<string, unknown>> = {}
  for (const [type, ofType] of Object.entries(fields)) {
    const apiType = api.getType(type)
    const names = [roots[type] ?? type, ...interfacesOf(typeDefs, type)]
    const isObject = kindsOf(typeDefs, type) === 'object'
    const into: Record<string, unknown> = {}
    if (isObject) {
      for (const field of Object.keys(ofType)) into[field] = resolverOf(shared, names, field)
    } else into.__resolveType = (thing: Thing) => thing.__typename
    const keySets = keys[type]
    if (keySets && keySets.length > 0) {
      const members = isAbstractType(apiType)
        ? api.getPossibleTypes(apiType).map((it) => it.name)
        : [type]
      into.__resolveReference = (representation: Record<string, unknown>) => {
        const found = definition.things.find(
          (it) =>
            members.includes(it.__typename) &&
            keySets.some((key) => isNamedBy(it, representation, key)),
        )
        if (!found || found.absentIn?.includes(name)) return null
        return known(found, representation, { own: fields[found.__typename] ?? ofType, keySets })
      }
    }
    resolvers[type] = into
  }
  for (const union of unionsOf(typeDefs)) {
    resolvers[union] = { __resolveType: (thing: Thing) => thing.__typename }
  }
  return buildSubgraphSchema([{ typeDefs, resolvers: resolvers as never }])
}

/**
 * A thing as its subgraph knows it that was given a representation: what is external comes from the
 * representation and from nowhere else.
 */
function known(
  thing: Thing,
  representation: Record<string, unknown>,
  { own, keySets }: { own: Readonly<Record<string, Field>>; keySets: readonly SelectionSetNode[] },
): Record<string, unknown> {
  const view: Record<string, unknown> = { ...thing }
  const isKey = (field: string) =>
    keySets.some((key) => key.selections.some((it) => (it as FieldNode).name.value === field))
  for (const [field, { isExternal }] of Object.entries(own)) {
    if (isExternal && !isKey(field)) delete view[field]
  }
  for (const [field, value] of Object.entries(representation)) {
    if (field !== '__typename' && (own[field]?.isExternal ?? true)) view[field] = value
  }
  return view
}

/** Whether the representation has this key whole, and it is this thing's. */
function isNamedBy(thing: unknown, representation: unknown, key: SelectionSetNode): boolean {
  if (!isObject(thing) || !isObject(representation)) return false
  return key.selections.every((it) => {
    const { name, selectionSet } = it as FieldNode
    if (name.value === '__typename') return true
    const given = representation[name.value]
    const has = thing[name.value]
    if (selectionSet) return isNamedBy(has, given, selectionSet)
    return given !== undefined && given !== null && has === given
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

export function fieldsOf(typeDefs: DocumentNode): Fields {
  const fields: Record<string, Record<string, Field>> = {}
  for (const node of typeDefs.definitions) {
    if (!isComposite(node)) continue
    const isWholeExternal = has(node.directives, 'external')
    const ofType = fields[node.name.value] ?? {}
    fields[node.name.value] = ofType
    for (const { name, directives } of node.fields ?? []) {
      ofType[name.value] = { isExternal: isWholeExternal || has(directives, 'external') }
    }
  }
  return fields
}

function keysOf(typeDefs: DocumentNode): Record<string, SelectionSetNode[]> {
  const keys: Record<string, SelectionSetNode[]> = {}
  for (const node of typeDefs.definitions) {
    if (!isComposite(node)) continue
    for (const directive of node.directives ?? []) {
      if (directive.name.value !== 'key') continue
      keys[node.name.value] = [...(keys[node.name.value] ?? []), keyOf(directive)]
    }
  }
  return keys
}

function keyOf({ arguments: args }: DirectiveNode): SelectionSetNode {
  const fields = args?.find((it) => it.name.value === 'fields')?.value
  if (fields?.kind !== Kind.STRING) throw new TypeError('a @key without fields')
  const [operation] = parse(`{ ${fields.value} }`, { noLocation: true }).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new TypeError('not a selection')
  return operation.selectionSet
}

/** What clients call the root types, by what they are called here. */
export function rootsOf(typeDefs: DocumentNode): Readonly<Record<string, string>> {
  const operations = typeDefs.definitions.flatMap((it) =>
    it.kind === Kind.SCHEMA_DEFINITION ? it.operationTypes : [],
  )
  const named = { query: 'Query', mutation: 'Mutation', subscription: 'Subscription' }
  return Object.fromEntries(
    operations.map(({ type, operation }) => [type.name.value, named[operation]]),
  )
}

function interfacesOf(typeDefs: DocumentNode, type: string): string[] {
  return typeDefs.definitions.flatMap((node) =>
    isComposite(node) && node.name.value === type
      ? (node.interfaces ?? []).map((it) => it.name.value)
      : [],
  )
}

function kindsOf(typeDefs: DocumentNode, type: string): 'object' | 'interface' {
  const isObject = typeDefs.definitions.some(
    (node) =>
      isComposite(node) &&
      node.name.value === type &&
      (node.kind === Kind.OBJECT_TYPE_DEFINITION || node.kind === Kind.OBJECT_TYPE_EXTENSION),
  )
  return isObject ? 'object' : 'interface'
}

function unionsOf(typeDefs: DocumentNode): string[] {
  return typeDefs.definitions.flatMap((node) =>
    node.kind === Kind.UNION_TYPE_DEFINITION || node.kind === Kind.UNION_TYPE_EXTENSION
      ? [node.name.value]
      : [],
  )
}

const isComposite = (node: DocumentNode['definitions'][number]) =>
  node.kind === Kind.OBJECT_TYPE_DEFINITION ||
  node.kind === Kind.OBJECT_TYPE_EXTENSION ||
  node.kind === Kind.INTERFACE_TYPE_DEFINITION ||
  node.kind === Kind.INTERFACE_TYPE_EXTENSION

function has(directives: readonly DirectiveNode[] | undefined, name: string): boolean {
  return directives?.some((it) => it.name.value === name) ?? false
}
