import { operationFromDocument } from '@apollo/federation-internals'
import type { PlanNode, QueryPlannerConfig, SubscriptionNode } from '@apollo/query-planner'
import { DomainError } from '@berth/platform/errors'
import type { DocumentNode } from 'graphql'
import type { Graph } from './graph.ts'

/** What a plan may be, and what may be tried to find it: a document decides neither. */
export const PLAN_LIMITS = Object.freeze({
  /**
   * Plans that are compared with each other, of the operation and of each condition on its way. Where
   * there are more, those with the most hops are left out. Generated operations come to as many
   * requests, in sum, as with the 10,000 that the planner would compare, at seconds for one document.
   */
  evaluated: 32,
  /** Ways to one field that are looked at, before what is worse is left out. */
  paths: 1_000,
  /** Requests to subgraphs that one operation may become. */
  fetches: 100,
})

export const PLANNER_CONFIG: QueryPlannerConfig = Object.freeze({
  debug: { maxEvaluatedPlans: PLAN_LIMITS.evaluated, pathsLimit: PLAN_LIMITS.paths },
})

/**
 * Plans one operation.
 *
 * @throws {DomainError} TOO_COMPLEX when it is too much to plan or to run, INTERNAL when the planner
 * fails by a fault of ours
 */
export function planOf(
  { planner, api, onPlan }: Pick<Graph, 'planner' | 'api' | 'onPlan'>,
  operation: DocumentNode,
): PlanNode | SubscriptionNode | undefined {
  let node: PlanNode | SubscriptionNode | undefined
  try {
    node = planner.buildQueryPlan(operationFromDocument(api, operation, {})).node
  } catch (error) {
    throw refusalOf(error)
  }
  const fetches = fetchesIn(node)
  if (fetches <= PLAN_LIMITS.fetches) {
    onPlan?.(fetches)
    return node
  }
  throw new DomainError(
    'TOO_COMPLEX',
    `The operation is too complex: ${fetches} requests to subgraphs (at most ${PLAN_LIMITS.fetches})`,
  )
}

export function fetchesIn(node: PlanNode | SubscriptionNode | undefined): number {
  switch (node?.kind) {
    case 'Fetch':
      return 1
    case 'Flatten':
      return fetchesIn(node.node)
    case 'Sequence':
    case 'Parallel':
      return node.nodes.reduce((sum, it) => sum + fetchesIn(it), 0)
    case 'Condition':
      return fetchesIn(node.ifClause) + fetchesIn(node.elseClause)
    case 'Subscription':
      return 1 + fetchesIn(node.rest)
    default:
      return 0
  }
}

/** The planner tells of its own limits by messages alone; a stack or an array that is full is one. */
function refusalOf(cause: unknown): DomainError {
  const { message, name } = cause instanceof Error ? cause : { message: '', name: '' }
  const limit = /limit of (\d+)/.exec(message)?.[1]
  if (name !== 'RangeError' && !/exceed|too many/i.test(message)) {
    return new DomainError('INTERNAL', 'the query planner failed', { cause })
  }
  const bound = limit ? ` (at most ${limit})` : ''
  return new DomainError('TOO_COMPLEX', `The operation has too many ways to be planned${bound}`)
}
