import type { PlanNode } from '@apollo/query-planner'
import { DomainError } from '@berth/platform/errors'
import { Kind, type SelectionSetNode } from 'graphql'
import type { Demand } from './demands.ts'
import type { Scope } from './fetch.ts'
import { textOf } from './names.ts'
import { NotPlanned } from './not-compiled.ts'

/**
 * Refuses a plan in which two fields of one object require a third with different arguments: the
 * planner fetches it once, and one of the two would be computed from what the other needs.
 *
 * @throws {NotPlanned}
 */
export function refuseConflicts(scope: Scope, node: PlanNode): void {
  const wanted = new Map<string, Wanted[]>()
  addAll(node, '')

  function addAll(node: PlanNode, path: string): void {
    switch (node.kind) {
      case 'Fetch':
        for (const it of scope.demands(node)) add(it, it.requires, path)
        break
      case 'Sequence':
      case 'Parallel':
        for (const it of node.nodes) addAll(it, path)
        break
      case 'Flatten':
        addAll(node.node, `${path}.${node.path.join('.')}`)
        break
      case 'Condition':
        for (const it of [node.ifClause, node.elseClause]) if (it) addAll(it, path)
        break
    }
  }

  function add(demand: Demand, { selections }: SelectionSetNode, path: string): void {
    for (const it of selections) {
      if (it.kind === Kind.FIELD) {
        const at = `${path}.${it.name.value}`
        const text = textOf(it)
        const others = wanted.get(at) ?? []
        const other = others.find((it) => it.text !== text && overlap(it.demand, demand))
        if (other) throw conflict(other.demand, demand, it.name.value)
        wanted.set(at, [...others, { demand, text }])
        if (it.selectionSet) add(demand, it.selectionSet, at)
      } else if (it.kind === Kind.INLINE_FRAGMENT) add(demand, it.selectionSet, path)
    }
  }

  function overlap({ on: a }: Demand, { on: b }: Demand): boolean {
    return a === null || b === null || scope.types.isOf(a, b) || scope.types.isOf(b, a)
  }
}

type Wanted = { readonly demand: Demand; readonly text: string }

function conflict(a: Demand, b: Demand, required: string): NotPlanned {
  const [first, second] = [a, b].map((it) => `${it.on ?? ''}.${it.field.name.value}`)
  return new NotPlanned(
    new DomainError(
      'BAD_INPUT',
      `${first} and ${second} need ${required} with different arguments: ask for them in operations of their own`,
    ),
  )
}
