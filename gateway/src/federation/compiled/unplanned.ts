import type { PlanNode } from '@apollo/query-planner'
import {
  type DefinitionNode,
  type DocumentNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { keyOf } from './names.ts'

/**
 * A field of the root that no fetch of the plan asks for: the planner leaves it out, and says
 * nothing, when no subgraph can have an object for it. Its answer would be a null that nobody gave.
 *
 * @param document the operation that was planned
 * @param node its plan
 * @returns its name in the data; undefined when all is asked for. What stands under a condition is
 *   not looked at: some conditions are never met.
 */
export function unplannedRoot(
  document: DocumentNode,
  node: PlanNode | undefined,
): string | undefined {
  const [definition] = document.definitions.filter(isOperation)
  if (!definition) return undefined
  const expected = new Set<string>()
  collect(definition.selectionSet, document.definitions, expected, isUnconditional)
  if (expected.size === 0) return undefined
  const asked = new Set<string>()
  collectAsked(node, asked)
  return [...expected].find((it) => !asked.has(it))
}

function collectAsked(node: PlanNode | undefined, into: Set<string>): void {
  switch (node?.kind) {
    case 'Fetch': {
      const { definitions } = parse(node.operation, { noLocation: true })
      for (const it of definitions.filter(isOperation)) {
        collect(it.selectionSet, definitions, into, () => true)
      }
      break
    }
    case 'Sequence':
    case 'Parallel':
      for (const it of node.nodes) collectAsked(it, into)
      break
    case 'Condition':
      collectAsked(node.ifClause, into)
      collectAsked(node.elseClause, into)
      break
    default: // What is below a path is no root.
  }
}

type Selection = SelectionSetNode['selections'][number]

function collect(
  { selections }: SelectionSetNode,
  definitions: readonly DefinitionNode[],
  into: Set<string>,
  isCounted: (selection: Selection) => boolean,
): void {
  for (const it of selections) {
    if (!isCounted(it)) continue
    if (it.kind === Kind.FIELD) {
      if (!it.name.value.startsWith('__')) into.add(keyOf(it))
    } else if (it.kind === Kind.INLINE_FRAGMENT) {
      collect(it.selectionSet, definitions, into, isCounted)
    } else {
      const fragment = definitions.find(
        (one) => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === it.name.value,
      )
      if (fragment?.kind === Kind.FRAGMENT_DEFINITION) {
        collect(fragment.selectionSet, definitions, into, isCounted)
      }
    }
  }
}

function isUnconditional({ directives }: Selection): boolean {
  return !directives?.some(({ name: { value } }) => value === 'skip' || value === 'include')
}

function isOperation(it: DefinitionNode): it is OperationDefinitionNode {
  return it.kind === Kind.OPERATION_DEFINITION
}
