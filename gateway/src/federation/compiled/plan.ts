import type { FetchNode, PlanNode } from '@apollo/query-planner'
import { forgotten } from './demands.ts'
import { compileFetch, type Scope, type Step } from './fetch.ts'
import { NotCompiled } from './not-compiled.ts'
import { compileCollect, type PlanPath, planPathOf } from './paths.ts'

/**
 * A query plan as closures.
 *
 * @param path where the objects are that it will be run for
 * @throws {NotCompiled}
 */
export function compilePlan(scope: Scope, node: PlanNode, path: PlanPath = []): Step {
  switch (node.kind) {
    case 'Fetch':
      return compileFetch(scope, completed(scope, node), path)
    case 'Sequence':
      return sequence(node.nodes.map((it) => compilePlan(scope, it, path)))
    case 'Parallel':
      return parallels(scope, node.nodes, path)
    case 'Flatten': {
      const below = planPathOf(node.path)
      const collect = compileCollect(below)
      const inner = compilePlan(scope, node.node, [...path, ...below])
      return (run, objects) => {
        const found = collect(objects)
        return found.length === 0 ? undefined : inner(run, found)
      }
    }
    case 'Condition': {
      const { condition, ifClause, elseClause } = node
      const name = scope.names.variable(condition)
      const whenTrue = ifClause && compilePlan(scope, ifClause, path)
      const whenFalse = elseClause && compilePlan(scope, elseClause, path)
      return (run, objects) => (run.coerced[name] === true ? whenTrue : whenFalse)?.(run, objects)
    }
    case 'Defer':
      throw new NotCompiled('defer')
    default:
      throw new NotCompiled('plan-node')
  }
}

/** With all that its fields require in what it sends. */
function completed(scope: Scope, node: FetchNode): FetchNode {
  const more = forgotten(node, scope.demands(node))
  return more.length === 0 ? node : { ...node, requires: [...(node.requires ?? []), ...more] }
}

/** What forgets in its place what the others bring comes after them. */
function parallels(scope: Scope, nodes: readonly PlanNode[], path: PlanPath): Step {
  const isLate = (it: PlanNode) => forgets(scope, it)
  const compiled = (some: readonly PlanNode[]) =>
    parallel(some.map((it) => compilePlan(scope, it, path)))
  if (nodes.length < 2 || !nodes.some(isLate)) return compiled(nodes)
  return sequence([compiled(nodes.filter((it) => !isLate(it))), compiled(nodes.filter(isLate))])
}

function forgets(scope: Scope, node: PlanNode): boolean {
  switch (node.kind) {
    case 'Fetch':
      return forgotten(node, scope.demands(node)).length > 0
    case 'Sequence':
    case 'Parallel':
      return node.nodes.some((it) => forgets(scope, it))
    case 'Flatten':
      return forgets(scope, node.node)
    default:
      return false
  }
}

/** Where the fetches of a plan put what they bring. */
export function pathsOf(node: PlanNode, path: PlanPath = []): PlanPath[] {
  switch (node.kind) {
    case 'Sequence':
    case 'Parallel':
      return node.nodes.flatMap((it) => pathsOf(it, path))
    case 'Flatten':
      return pathsOf(node.node, [...path, ...planPathOf(node.path)])
    case 'Condition':
      return [node.ifClause, node.elseClause].flatMap((it) => (it ? pathsOf(it, path) : []))
    default:
      return [path]
  }
}

/** Whether a plan has fetches with arguments from contexts. */
export function hasContexts(node: PlanNode | undefined): boolean {
  switch (node?.kind) {
    case 'Fetch':
      return (node.contextRewrites?.length ?? 0) > 0
    case 'Sequence':
    case 'Parallel':
      return node.nodes.some(hasContexts)
    case 'Flatten':
      return hasContexts(node.node)
    case 'Condition':
      return hasContexts(node.ifClause) || hasContexts(node.elseClause)
    default:
      return false
  }
}

function sequence(steps: readonly Step[]): Step {
  return async (run, objects) => {
    for (const step of steps) {
      if (run.isEnded) return
      const pending = step(run, objects)
      if (pending) await pending
    }
  }
}

function parallel(steps: readonly Step[]): Step {
  return (run, objects) => {
    const pending: Promise<void>[] = []
    for (const step of steps) {
      const it = step(run, objects)
      if (it) pending.push(it)
    }
    if (pending.length <= 1) return pending[0]
    return Promise.all(pending) as Promise<unknown> as Promise<void>
  }
}
