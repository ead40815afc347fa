import { errorCauses, Supergraph } from '@apollo/federation-internals'
import {
  buildASTSchema,
  type ConstDirectiveNode,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  isAbstractType,
  isEnumType,
  isTypeDefinitionNode,
  Kind,
  type NameNode,
  parse,
  print,
  printSchema,
  type TypeDefinitionNode,
} from 'graphql'
import { reachableTypes, withoutUnreachable } from './reachable.ts'

type Subgraph = { readonly name: string; readonly typeDefs: DocumentNode }
type Tagged = { readonly name: NameNode; readonly directives?: readonly ConstDirectiveNode[] }

const ROOTS = ['Query', 'Mutation', 'Subscription']

/**
 * What an audience sees of the graph: exactly what has its `@tag`, less the types that nothing leads
 * to. A type's tag is the tag of all its fields, values and input fields; a field's, of its arguments.
 * It is made as federation makes contracts: whatever has no tag is `@inaccessible`, and the API schema
 * of such a supergraph is the audience's.
 *
 * @param supergraphSdl as composed
 * @param subgraphs that it was composed of
 * @param tag the audience's: `partner`
 * @returns SDL, with descriptions and `@deprecated`, and nothing of federation
 * @throws {Error} with every coordinate that has the tag and leads to what has none, and every type
 * whose values or possible types the audience would be sent and could not know
 */
export function audienceSchema(
  supergraphSdl: string,
  subgraphs: readonly Subgraph[],
  tag: string,
): string {
  const refuse = (problems: readonly string[]) => {
    if (problems.length === 0) return
    throw new Error(`No schema for ${tag}:\n${problems.map((it) => `- ${it}`).join('\n')}`)
  }
  refuse(halfTagged(subgraphs, tag))
  const api = apiSchema(supergraphSdl)
  const marked = print(withInaccessible(parse(supergraphSdl, { noLocation: true }), api, tag))
  try {
    const schema = withoutUnreachable(apiSchema(marked))
    refuse(unknownAnswers(schema, api, tag))
    return `${printSchema(schema)}\n`
  } catch (error) {
    const causes = error instanceof Error ? errorCauses(error) : undefined
    if (causes) refuse(causes.map(({ message }) => inWordsOf(tag, message)))
    throw error
  }
}

/** What clients see of a supergraph. By way of SDL: Apollo's may be another copy of graphql-js. */
export function apiSchema(supergraphSdl: string): GraphQLSchema {
  return buildASTSchema(Supergraph.build(supergraphSdl).apiSchema().toAST())
}

/**
 * A type's tag in one subgraph would be that of the fields that another adds to it, unseen by those
 * who add them; and a root type's, of every operation to come.
 */
function halfTagged(subgraphs: readonly Subgraph[], tag: string): string[] {
  const all = subgraphs.flatMap(({ name, typeDefs }) =>
    typeDefs.definitions.flatMap((it) => {
      const type = typeOf(it)
      return type ? [{ subgraph: name, type, isTagged: has(it as TypeDefinitionNode, tag) }] : []
    }),
  )
  const tagged = new Map(all.flatMap((it) => (it.isTagged ? [[it.type, it.subgraph]] : [])))
  return [
    ...ROOTS.filter((it) => tagged.has(it)).map((it) => `${it} has the tag: give it to its fields`),
    ...all.flatMap(({ subgraph, type, isTagged }) =>
      isTagged || !tagged.has(type) || ROOTS.includes(type)
        ? []
        : [`${type} has the tag in ${tagged.get(type)} and not in ${subgraph}: give it there too`],
    ),
  ]
}

/** The supergraph, with `@inaccessible` on everything that clients see and that has no tag. */
function withInaccessible(supergraph: DocumentNode, api: GraphQLSchema, tag: string): DocumentNode {
  const { definitions } = parse(
    'directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION',
    { noLocation: true },
  )
  const isLinked = supergraph.definitions.some(
    (it) => it.kind === Kind.DIRECTIVE_DEFINITION && it.name.value === 'inaccessible',
  )
  return {
    kind: Kind.DOCUMENT,
    definitions: [
      ...supergraph.definitions.map((it) => {
        if (it.kind === Kind.SCHEMA_DEFINITION) return isLinked ? it : { ...it, ...linked(it) }
        return isTypeDefinitionNode(it) && api.getType(it.name.value) ? markType(it, tag) : it
      }),
      ...(isLinked ? [] : definitions),
    ],
  }
}

function linked({ directives = [] }: { readonly directives?: readonly ConstDirectiveNode[] }) {
  const url = 'https://specs.apollo.dev/inaccessible/v0.2'
  return { directives: [...directives, directive(`@link(url: "${url}", for: SECURITY)`)] }
}

function markType(type: TypeDefinitionNode, tag: string): TypeDefinitionNode {
  if (has(type, tag)) return type
  const members: readonly Tagged[] =
    'fields' in type ? (type.fields ?? []) : 'values' in type ? (type.values ?? []) : []
  if (!members.some((it) => has(it, tag))) return mark(type)
  const marked = members.map((it) => (has(it, tag) ? it : mark(it)))
  return { ...type, ['fields' in type ? 'fields' : 'values']: marked } as TypeDefinitionNode
}

function mark<T extends Tagged>(it: T): T {
  const directives = it.directives ?? []
  if (directives.some(({ name }) => name.value === 'inaccessible')) return it
  return { ...it, directives: [...directives, directive('@inaccessible')] }
}

/** Whoever is sent a value or a type that their schema does not have cannot read the answer. */
function unknownAnswers(schema: GraphQLSchema, api: GraphQLSchema, tag: string): string[] {
  return [...reachableTypes(schema, 'answers')].flatMap((type) => {
    const whole = api.getType(type.name)
    const isHidden = (name: string) =>
      `${name} may be answered and has no tag "${tag}": give it one, or take it from ${type.name}`
    if (isEnumType(type) && isEnumType(whole)) {
      return whole
        .getValues()
        .filter((it) => !type.getValue(it.name))
        .map((it) => isHidden(`${type.name}.${it.name}`))
    }
    if (!isAbstractType(type) || !isAbstractType(whole)) return []
    const known = new Set(schema.getPossibleTypes(type).map((it) => it.name))
    return api
      .getPossibleTypes(whole)
      .filter((it) => !known.has(it.name))
      .map((it) => isHidden(it.name))
  })
}

function inWordsOf(tag: string, message: string): string {
  return message
    .replaceAll('is @inaccessible', `has no tag "${tag}"`)
    .replaceAll('is in the API schema', 'has it')
}

function typeOf(it: DefinitionNode): string | undefined {
  return 'name' in it && it.kind !== Kind.DIRECTIVE_DEFINITION ? it.name?.value : undefined
}

function has({ directives = [] }: Omit<Tagged, 'name'>, tag: string): boolean {
  return directives.some(
    (it) =>
      it.name.value === 'tag' &&
      it.arguments?.some(({ value }) => value.kind === Kind.STRING && value.value === tag),
  )
}

function directive(text: string): ConstDirectiveNode {
  const [definition] = parse(`scalar S ${text}`, { noLocation: true }).definitions
  const [it] = (definition as TypeDefinitionNode).directives ?? []
  if (!it) throw new TypeError(`no directive: ${text}`)
  return it
}
