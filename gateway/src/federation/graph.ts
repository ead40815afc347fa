import { DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES, Supergraph } from '@apollo/federation-internals'
import { QueryPlanner } from '@apollo/query-planner'
import type { GraphQLSchema } from 'graphql'
import type { CostDirectives } from '../admit/cost-rules.ts'
import { PLANNER_CONFIG } from './planning.ts'
import { withResolvableKeysFirst } from './resolvable-keys.ts'

/** The composed graph, in the forms that its readers need. Built once per supergraph. */
export type Graph = {
  readonly sdl: string
  /** What clients see. */
  readonly schema: GraphQLSchema
  /** With what composition wrote into it: `@authority`, and who owns a field. */
  readonly supergraph: GraphQLSchema
  /** Names of `@cost` and `@listSize` in it; null where it has neither. */
  readonly costDirectives: CostDirectives | null
  /** What clients see, as the planner and the executor want it. */
  readonly api: ReturnType<Supergraph['apiSchema']>
  readonly planner: QueryPlanner
  /** Told of each plan that is made, by how many requests to subgraphs it has. */
  readonly onPlan?: (fetches: number) => void
  /** Names of the subgraphs. */
  readonly subgraphs: readonly string[]
  /** What the supergraph says where each is; empty where it says nothing. */
  readonly urls: Readonly<Record<string, string>>
}

/** @param sdl a supergraph that was composed and checked beforehand */
export function buildGraph(sdl: string): Graph {
  const supergraph = Supergraph.build(withResolvableKeysFirst(sdl), {
    validateSupergraph: false,
    supportedFeatures: SUPPORTED_FEATURES,
  })
  const api = supergraph.apiSchema()
  const subgraphs = supergraph.subgraphsMetadata()
  return Object.freeze({
    sdl,
    schema: api.toGraphQLJSSchema(),
    supergraph: supergraph.schema.toGraphQLJSSchema(),
    costDirectives: costDirectivesOf(supergraph),
    api,
    planner: new QueryPlanner(supergraph, PLANNER_CONFIG),
    subgraphs: subgraphs.map(({ name }) => name),
    urls: Object.fromEntries(subgraphs.map(({ name, url }) => [name, url])),
  })
}

function costDirectivesOf({ schema }: Supergraph): CostDirectives | null {
  const feature = schema.coreFeatures?.getByIdentity('https://specs.apollo.dev/cost')
  if (!feature) return null
  const [cost, listSize] = ['cost', 'listSize'].map((it) => feature.directiveNameInSchema(it))
  return { cost: cost ?? '', listSize: listSize ?? '' }
}

/**
 * What a supergraph may ask for: beside the usual, contexts, which the planner plans and our executor
 * runs. A supergraph that asks for authorization directives is refused: nothing here enforces them.
 */
const SUPPORTED_FEATURES: Set<string> = new Set([
  ...DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES,
  'https://specs.apollo.dev/context/v0.1',
])
