import type { FetchNode } from '@apollo/query-planner'
import {
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { isIncluded } from './conditions.ts'
import { renamed } from './rewrites.ts'
import type { Run } from './run.ts'
import type { Types } from './types.ts'

/**
 * The response names of what a fetch would have brought, for an entity of a type, or (null) for the
 * root: there the error of a fetch that failed stands, where the client asked for it.
 */
export type Holes = (run: Run, typename: string | null) => readonly string[]

export function compileHoles(types: Types, node: FetchNode): Holes {
  const document = parse(node.operation, { noLocation: true })
  const fragments = new Map<string, FragmentDefinitionNode>()
  let operation: OperationDefinitionNode | undefined
  for (const it of document.definitions) {
    if (it.kind === Kind.FRAGMENT_DEFINITION) fragments.set(it.name.value, it)
    else if (it.kind === Kind.OPERATION_DEFINITION) operation = it
  }
  const [first] = operation?.selectionSet.selections ?? []
  const selections =
    node.requires && first?.kind === Kind.FIELD ? first.selectionSet : operation?.selectionSet

  return (run, typename) => {
    const keys = new Set<string>()
    if (selections) add(selections)
    return [...keys]

    function add(set: SelectionSetNode): void {
      for (const it of set.selections) {
        if (!isIncluded(it.directives, run.coerced)) continue
        if (it.kind === Kind.FIELD) {
          if (it.name.value === '__typename') continue
          const [key] = renamed([it.alias?.value ?? it.name.value], node.outputRewrites)
          keys.add(String(key))
          continue
        }
        const fragment = it.kind === Kind.INLINE_FRAGMENT ? it : fragments.get(it.name.value)
        const condition = fragment?.typeCondition?.name.value
        if (!fragment) continue
        if (condition && typename !== null && !types.isOf(typename, condition)) continue
        add(fragment.selectionSet)
      }
    }
  }
}
