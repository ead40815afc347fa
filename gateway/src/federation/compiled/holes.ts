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
 * root: there the error of a fetch that failed stands.
 */
export type Holes = (run: Run, typename: string | null) => readonly string[]

/** @param wanted what the client asked for at that place: what a plan needs besides has no place */
export function compileHoles({
  types,
  shown,
  node,
  wanted,
}: {
  types: Types
  shown: (key: string) => string
  node: FetchNode
  wanted: Keys | null
}): Holes {
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
    const asked = [...keys].filter((it) => wanted?.has(it))
    return asked.length > 0 ? asked : [...keys]

    function add(set: SelectionSetNode): void {
      for (const it of set.selections) {
        if (!isIncluded(it.directives, run.coerced)) continue
        if (it.kind === Kind.FIELD) {
          if (it.name.value === '__typename') continue
          const [key] = renamed([it.alias?.value ?? it.name.value], node.outputRewrites)
          keys.add(shown(String(key)))
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

/** The response names of a selection and what is below them, whatever types and conditions. */
export type Keys = { has(key: string): boolean; below(key: string): Keys | null }

export function keysOf(
  sets: readonly SelectionSetNode[],
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): Keys {
  let children: Map<string, SelectionSetNode[]> | undefined
  // Found out when something asks, which is when a fetch is compiled below it.
  const found = () => {
    if (children) return children
    children = new Map()
    const seen = new Set<string>()
    const add = (map: Map<string, SelectionSetNode[]>, { selections }: SelectionSetNode): void => {
      for (const it of selections) {
        if (it.kind === Kind.FIELD) {
          const key = it.alias?.value ?? it.name.value
          const below = map.get(key) ?? []
          if (it.selectionSet) below.push(it.selectionSet)
          map.set(key, below)
        } else if (it.kind === Kind.INLINE_FRAGMENT) add(map, it.selectionSet)
        else if (!seen.has(it.name.value)) {
          seen.add(it.name.value)
          const fragment = fragments.get(it.name.value)
          if (fragment) add(map, fragment.selectionSet)
        }
      }
    }
    for (const set of sets) add(children, set)
    return children
  }
  return {
    has: (key) => found().has(key),
    below(key) {
      const below = found().get(key)
      return below ? keysOf(below, fragments) : null
    },
  }
}
