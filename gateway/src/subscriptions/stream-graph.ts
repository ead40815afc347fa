import { setImmediate as nextTurn } from 'node:timers/promises'
import { DomainError } from '@berth/platform/errors'
import {
  type DocumentNode,
  type GraphQLSchema,
  getOperationAST,
  type OperationDefinitionNode,
  validate,
} from 'graphql'
import type { Documents } from '../admit/documents.ts'
import { withoutSuggestions } from '../admit/suggestions.ts'
import type { Executor } from '../federation/executor.ts'
import { type Operation, operationOf } from './operation.ts'
import type { Planner, SubscriptionPlan } from './plan.ts'

/** What streams need of a supergraph; replaced as one when it is reloaded. */
export type StreamGraph = {
  /** What clients see. */
  readonly schema: GraphQLSchema
  readonly documents: Pick<Documents, 'open'>
  readonly planner: Planner
  readonly executor: Pick<Executor, 'hydrate'>
}

/**
 * Operations as this graph has them, whichever graph they were planned for. Each document is opened
 * and planned once, however many subscriptions there are of it.
 *
 * @returns throws a {DomainError} for what is not valid any more
 */
export function createCurrent(graph: StreamGraph): (operation: Operation) => Operation {
  const plans = new WeakMap<SubscriptionPlan, SubscriptionPlan | DomainError>()
  return (operation) => {
    const { plan, variables } = operation
    if (plan.schema === graph.schema) return operation
    let next = plans.get(plan)
    if (!next) {
      next = planned(plan)
      plans.set(plan, next)
    }
    if (next instanceof DomainError) throw next
    try {
      return operationOf(next, graph.executor, variables)
    } catch (error) {
      throw gone(error)
    }
  }

  function planned(plan: SubscriptionPlan): SubscriptionPlan | DomainError {
    try {
      const { document, definition } = reopened(plan)
      return graph.planner(document, definition)
    } catch (error) {
      return gone(error)
    }
  }

  /** By its text, so that what was planned before the graph was served is found. */
  function reopened({ document, definition }: SubscriptionPlan): {
    document: DocumentNode
    definition: OperationDefinitionNode
  } {
    const text = document.loc?.source.body
    if (text !== undefined) {
      try {
        const opened = graph.documents.open(text)
        const same = getOperationAST(opened, definition.name?.value)
        if (same) return { document: opened, definition: same }
      } catch (error) {
        // Another operation of the same text may be what is wrong.
        if (!(error instanceof AggregateError)) throw error
      }
    }
    const [problem] = validate(graph.schema, document)
    // Whoever subscribed may be one who may not see the schema.
    if (problem) throw withoutSuggestions(problem)
    return { document, definition }
  }
}

/** How long everything else waits for it at a time. */
const SLICE_MS = 5

/** Does something for each, in order, a few at a time. */
export async function inSlices<Item>(
  items: Iterable<Item>,
  { each, isOver }: { each: (item: Item) => void; isOver: () => boolean },
): Promise<void> {
  let endsAt = performance.now() + SLICE_MS
  for (const item of items) {
    if (performance.now() >= endsAt) {
      await nextTurn()
      endsAt = performance.now() + SLICE_MS
    }
    if (isOver()) return
    each(item)
  }
}

function gone(cause: unknown): DomainError {
  const error: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  const why = error instanceof Error ? error.message : ''
  const message = `The graph has changed, and this subscription is not valid any more. ${why}`
  return new DomainError('BAD_INPUT', message.trim(), { cause })
}
