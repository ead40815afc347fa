import type { DocumentNode, GraphQLSchema, OperationDefinitionNode } from 'graphql'
import { costOf, type OperationCost } from './cost.ts'
import { type CostDirectives, type CostRules, createCostRules } from './cost-rules.ts'

export type Costs = {
  /** @returns what must be told of every document that is opened in this graph */
  in(graph: CostedGraph): (document: DocumentNode) => void
  /** Of an operation of such a document, by what its own graph says; of any other, nothing. */
  of(document: DocumentNode, operation: OperationDefinitionNode): OperationCost
}

export type CostedGraph = {
  readonly supergraph: GraphQLSchema
  readonly costDirectives: CostDirectives | null
}

/** Of lists that say nothing of their size. */
export const ASSUMED_SIZE = 10

/** What operations cost, each in the graph that its document was opened in. */
export function createCosts({ assumedSize = ASSUMED_SIZE }: { assumedSize?: number } = {}): Costs {
  const opened = new WeakMap<DocumentNode, { schema: GraphQLSchema; rules: CostRules }>()
  return {
    in({ supergraph: schema, costDirectives: directives }) {
      const own = { schema, rules: createCostRules(schema, { directives, assumedSize }) }
      return (document) => void opened.set(document, own)
    },
    of(document, operation) {
      const own = opened.get(document)
      return own ? costOf(own.schema, own.rules, document, operation) : 0
    },
  }
}
