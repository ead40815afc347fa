import { GraphQLError } from 'graphql'
import type { GatewayContext } from '../../context.ts'
import type { JsonObject } from './json.ts'

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
  readonly errors: GraphQLError[]
  /** Places that are empty because of an error which stands elsewhere. */
  readonly explained: Path[]
  /** Places of entities that could not be asked for, and what is therefore empty there. */
  readonly skipped: { readonly place: Path; readonly holes: readonly Path[] }[]
  /** Where the writer is: valid up to the depth of the field that reads it. */
  readonly path: (string | number)[]
  /** A mutation went so wrong that those after it must not run. */
  isEnded: boolean
  places: PathTree | null
}

type PathTree = Map<string | number, PathTree>

/** An error of the gateway's own. */
export function report(run: Run, message: string, path: Path): void {
  run.errors.push(new GraphQLError(message, { path }))
}

/** Whether an error stands at a place or below it, so that its null needs no other. */
export function isExplained(run: Run, path: Path): boolean {
  run.places ??= placesOf(run)
  return has(run.places, path)
}

/** Asked for once all fetches are done: what the writer itself reports is at places of its own. */
function placesOf({ errors, explained, skipped }: Run): PathTree {
  const root: PathTree = new Map()
  for (const { path } of errors) if (path) add(root, path)
  for (const path of explained) add(root, path)
  // What they need is missing: if an error stands there, that is why.
  for (const { place, holes } of skipped) {
    if (has(root, place)) for (const path of holes) add(root, path)
  }
  return root
}

function has(root: PathTree, path: Path): boolean {
  let tree: PathTree | undefined = root
  for (const step of path) {
    tree = tree.get(step)
    if (!tree) return false
  }
  return true
}

function add(root: PathTree, path: Path): void {
  let tree = root
  for (const step of path) {
    let next = tree.get(step)
    if (!next) {
      next = new Map()
      tree.set(step, next)
    }
    tree = next
  }
}
