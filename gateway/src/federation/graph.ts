import { Supergraph } from '@apollo/federation-internals'
import { QueryPlanner } from '@apollo/query-planner'
import type { GraphQLSchema } from 'graphql'

/** The composed graph, in the forms that its readers need. Built once per supergraph. */
export type Graph = {
  readonly sdl: string
  /** What clients see. */
  readonly schema: GraphQLSchema
  /** With what composition wrote into it: `@authority`, and who owns a field. */
  readonly supergraph: GraphQLSchema
  /** What clients see, as the planner and the executor want it. */
  readonly api: ReturnType<Supergraph['apiSchema']>
  readonly planner: QueryPlanner
  /** Names of the subgraphs. */
  readonly subgraphs: readonly string[]
}

/** @param sdl a supergraph that was composed and checked beforehand */
export function buildGraph(sdl: string): Graph {
  const supergraph = Supergraph.build(sdl, { validateSupergraph: false })
  const api = supergraph.apiSchema()
  return Object.freeze({
    sdl,
    schema: api.toGraphQLJSSchema(),
    supergraph: supergraph.schema.toGraphQLJSSchema(),
    api,
    planner: new QueryPlanner(supergraph),
    subgraphs: supergraph.subgraphsMetadata().map(({ name }) => name),
  })
}
