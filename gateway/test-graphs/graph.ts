import { composeServices } from '@apollo/composition'
import {
  buildSchema,
  type DocumentNode,
  defaultFieldResolver,
  type GraphQLFieldResolver,
  type GraphQLSchema,
  isObjectType,
  parse,
  printSchema,
} from 'graphql'
import { buildGraph, type Graph } from '../src/federation/graph.ts'
import { fieldsOf, subgraphSchema } from './subgraph.ts'

/** A thing of the shared data. Its properties are what its fields answer, unless a resolver says more. */
export type Thing = {
  readonly __typename: string
  /** Subgraphs that do not know it: they answer null for its reference. */
  readonly absentIn?: readonly string[]
  readonly [property: string]: unknown
}

/** What an execution carries: fresh for each, shared by all subgraphs that take part. */
export type State = {
  /** What mutations did, in their order. */
  readonly effects: string[]
  /** What subgraphs were asked. */
  readonly asks: string[]
  /** Decides in which order subgraphs answer: the same for the same operation. */
  readonly pace: number
  /** Decides what is wrong with their answers; nothing where it is not there. */
  readonly spoiledBy?: number
}

// biome-ignore lint/suspicious/noExplicitAny: sources are of any type of any graph.
export type Resolve = (source: any, args: any, state: State) => unknown

/** A supergraph for tests: the same data and resolvers stand behind the subgraphs and the oracle. */
export type TestGraph = {
  readonly name: string
  /** SDL by name of subgraph, without the `@link` of federation 2 (see `link`). */
  readonly subgraphs: Readonly<Record<string, string>>
  /** Put before each subgraph's SDL; '' for federation 1. */
  readonly link?: string
  readonly things: readonly Thing[]
  /** By `Type.field`, or by `Interface.field` for all its types. */
  readonly resolvers?: Readonly<Record<string, Resolve>>
  /** What one subgraph does otherwise, by subgraph: it computes from representations, for example. */
  readonly own?: Readonly<Record<string, Readonly<Record<string, Resolve>>>>
  /** Values that exist, by type of argument (`ID`) or by argument (`Query.product(id:)`). */
  readonly values?: Readonly<Record<string, readonly unknown[]>>
  /** Bounds of generated operations, where planning larger ones takes the planner too long. */
  readonly bounds?: { readonly depth: number; readonly fields: number }
  readonly operations: readonly (string | HandPicked)[]
}

export type HandPicked = {
  readonly source: string
  readonly variables?: Readonly<Record<string, unknown>>
}

export type OpenGraph = {
  readonly definition: TestGraph
  readonly graph: Graph
  /** One schema over all the data, whose types are those that clients of the supergraph see. */
  readonly monolith: GraphQLSchema
  readonly subgraphs: Readonly<Record<string, GraphQLSchema>>
}

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: [
  "@key", "@requires", "@provides", "@external", "@shareable", "@override", "@inaccessible", "@tag",
  "@interfaceObject", "@composeDirective", "@context", "@fromContext"])`

/** Composes the subgraphs, and gives them and the oracle the same resolvers over the same data. */
export function openGraph(definition: TestGraph): OpenGraph {
  const services = Object.entries(definition.subgraphs).map(([name, sdl]) => ({
    name,
    url: `http://${name}.test/graphql`,
    typeDefs: parse(`${definition.link ?? LINK}\n${sdl}`),
  }))
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) {
    throw new Error(`${definition.name}: ${errors?.map(({ message }) => message).join('\n')}`)
  }
  const graph = buildGraph(supergraphSdl)
  return {
    definition,
    graph,
    monolith: monolithOf(definition, graph, services),
    subgraphs: Object.fromEntries(
      services.map(({ name, typeDefs }) => [
        name,
        subgraphSchema(definition, { name, typeDefs, api: graph.schema }),
      ]),
    ),
  }
}

function monolithOf(
  definition: TestGraph,
  { schema: api }: Graph,
  services: readonly { name: string; typeDefs: DocumentNode }[],
): GraphQLSchema {
  const monolith = buildSchema(printSchema(api))
  const owned = services.map(({ name, typeDefs }) => ({ name, fields: fieldsOf(typeDefs) }))
  for (const type of Object.values(monolith.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      const names = [type.name, ...type.getInterfaces().map((it) => it.name)]
      const owners = owned.flatMap(({ name, fields }) =>
        names.some((it) => fields[it]?.[field.name]?.isExternal === false) ? [name] : [],
      )
      const resolve = resolverOf(definition.resolvers ?? {}, names, field.name)
      field.resolve = (source, args, state, info) => {
        // Who owns the field does not know the thing.
        const absentIn = (source as Thing | undefined)?.absentIn
        if (absentIn && owners.every((it) => absentIn.includes(it))) return null
        return wrong(resolve(source, args, state, info))
      }
    }
  }
  return monolith
}

/** The resolver by the first of the names that has one, else the property. */
export function resolverOf(
  resolvers: Readonly<Record<string, Resolve>>,
  types: readonly string[],
  field: string,
): GraphQLFieldResolver<unknown, State> {
  const found = types.map((it) => resolvers[`${it}.${field}`]).find((it) => it !== undefined)
  return found ? (source, args, state) => found(source, args, state) : defaultFieldResolver
}

/**
 * Where the data has this number, a subgraph answers what no `Int` is: subgraphs are checked by
 * nobody but the gateway.
 */
export const WRONG_INT = 424_242
export const NOT_AN_INT = 'not a number'

function wrong(value: unknown): unknown {
  return value === WRONG_INT ? NOT_AN_INT : value
}
