import type { FetchNode, PlanNode } from '@apollo/query-planner'
import { type GraphQLObjectType, Kind, parse, type SelectionSetNode } from 'graphql'
import { forgotten } from './demands.ts'
import type { Scope } from './fetch.ts'
import { type PlanPath, planPathOf } from './paths.ts'
import { NotCut, TYPENAME } from './plain.ts'
import { requiredOf } from './representations.ts'

/** A fetch, and the objects that it adds to. */
export type Attached = {
  readonly node: FetchNode
  readonly path: PlanPath
  /** What it asks of each. */
  readonly selections: SelectionSetNode
  /**
   * Response names of the leaves that it is told of one, its type among them, in the order in which
   * they are sent. @throws {NotCut}
   */
  readonly told: (type: GraphQLObjectType) => readonly string[]
}

/** The fetches of a plan. @throws {NotCut} */
export function* attachedIn(scope: Scope, node: PlanNode, path: PlanPath): Iterable<Attached> {
  switch (node.kind) {
    case 'Fetch':
      yield attachedOf(scope, node, path)
      break
    case 'Sequence':
    case 'Parallel':
      for (const it of node.nodes) yield* attachedIn(scope, it, path)
      break
    case 'Flatten':
      yield* attachedIn(scope, node.node, [...path, ...planPathOf(node.path)])
      break
    default:
      throw new NotCut()
  }
}

function attachedOf(scope: Scope, node: FetchNode, path: PlanPath): Attached {
  const { requires, inputRewrites = [], outputRewrites = [], contextRewrites = [] } = node
  if (inputRewrites.length + outputRewrites.length + contextRewrites.length > 0) throw new NotCut()
  if (forgotten(node, scope.demands(node)).length > 0) throw new NotCut()
  if (!requires && path.length > 0) throw new NotCut()
  const asked = selectionsOf(node)
  if (!requires) return { node, path, selections: asked, told: () => [] }
  const [entities, ...others] = asked.selections
  if (entities?.kind !== Kind.FIELD || !entities.selectionSet || others.length > 0) {
    throw new NotCut()
  }
  const told = (type: GraphQLObjectType) => toldOf(scope, node, type)
  return { node, path, selections: entities.selectionSet, told }
}

function selectionsOf(node: FetchNode): SelectionSetNode {
  const [operation, ...fragments] = parse(node.operation, { noLocation: true }).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION || fragments.length > 0) throw new NotCut()
  return operation.selectionSet
}

function toldOf({ types }: Scope, node: FetchNode, { name }: GraphQLObjectType): string[] {
  if (!types.isIn(node.serviceName, name)) throw new NotCut()
  const keys = requiredOf(types, name, node.requires ?? []).map((it) => {
    if (it.kind !== 'Field' || it.selections) throw new NotCut()
    return it.alias ?? it.name
  })
  if (!keys.includes(TYPENAME)) throw new NotCut()
  return keys
}
