import type { GraphQLError } from 'graphql'
import type { GatewayContext } from '../../context.ts'
import type { SubgraphAnswer } from '../answers.ts'
import type { SubgraphClient } from '../transport/subgraph-client.ts'
import type { JsonObject } from './json.ts'

/** Where something is in the data: response names of the plan, and indexes of lists. */
export type Path = readonly (string | number)[]

/** One execution of a compiled operation. */
export type Run = {
  /** As the client sent them; subgraphs coerce them themselves. */
  readonly variables: Readonly<Record<string, unknown>>
  readonly coerced: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
  /** What the fetches brought, by response names. */
  readonly data: JsonObject
  /** Whether `data` has parts that are not this run's to change. */
  readonly isShared: boolean
  readonly told: Told[]
  /** What could not be asked for, because of what is missing or failed elsewhere. */
  readonly skipped: Skipped[]
  /** Those of introspection: they stand where clients see them. */
  readonly errors: GraphQLError[]
  /** Where the writer is: valid up to the depth of the field that reads it. */
  readonly path: (string | number)[]
  /** A mutation went so wrong that those after it must not run. */
  isEnded: boolean
  places: PathTree | null
  /** What was answered to an attempt to run it without parsing: see `Splice`. */
  readonly heard: Heard[]
}

export type Heard = {
  readonly client: SubgraphClient
  readonly body: string
  readonly answer: Promise<SubgraphAnswer>
}

/** An error, where it happened in the data. Whether clients have that place is found out at the end. */
export type Told = {
  /** The words of one of the gateway's own, or what makes the error: of thousands few are shown. */
  readonly why: string | (() => Error)
  /** Null: it is of no place. */
  readonly paths: readonly Path[] | null
  /** At how many of them it is told at most. */
  readonly limit: number
  /** What is empty because of it: it is told there when clients have none of its places. */
  readonly holes: Path[]
}

export type Skipped = {
  /** What was needed: an error there or below is why. */
  readonly cause: Path
  readonly holes: readonly Path[]
}

/** An error of the gateway's own. */
export function report(run: Run, message: string, path: Path): void {
  run.told.push({ why: message, paths: [path], limit: 1, holes: [] })
}

/** Whether an error stands at a place or below it, so that its null needs no other. */
export function isExplained(run: Run, path: Path): boolean {
  run.places ??= explainedPlaces(run)
  return at(run.places, path) !== null
}

/** Places of errors, and what is empty because of them. */
export type PathTree = { readonly below: Map<string | number, PathTree>; first: Told | null }

/** Asked for once all fetches are done: what the writer itself reports is at places of its own. */
function explainedPlaces({ told, skipped }: Run): PathTree {
  const root = treeOf(told)
  // In the order of the plan: what is skipped may be what others need.
  for (const { cause, holes } of skipped) {
    const found = at(root, cause)
    if (found) for (const path of holes) add(root, path, firstIn(found))
  }
  return root
}

export function treeOf(told: readonly Told[]): PathTree {
  const root: PathTree = { below: new Map(), first: null }
  // Errors of one answer have lists of places in common, and the first of them has the place.
  const seen = new Set<readonly Path[]>()
  for (const it of told) {
    for (const paths of [it.paths, it.holes]) {
      if (!paths || seen.has(paths)) continue
      seen.add(paths)
      for (const path of paths) add(root, path, it)
    }
  }
  return root
}

export function at(root: PathTree | null, path: Path): PathTree | null {
  let tree: PathTree | null | undefined = root
  for (const step of path) {
    if (!tree) return null
    tree = tree.below.get(step)
  }
  return tree ?? null
}

export function add(root: PathTree, path: Path, told: Told | null): void {
  let tree = root
  for (const step of path) {
    let next = tree.below.get(step)
    if (!next) {
      next = { below: new Map(), first: null }
      tree.below.set(step, next)
    }
    tree = next
  }
  tree.first ??= told
}

export function firstIn(tree: PathTree): Told | null {
  if (tree.first) return tree.first
  for (const below of tree.below.values()) {
    const found = firstIn(below)
    if (found) return found
  }
  return null
}
