import { GraphQLError } from 'graphql'
import { LeftOut, MAX_ERRORS, MAX_HOLES } from '../answers.ts'
import { type JsonObject, read } from './json.ts'
import { add, at, firstIn, type Path, type PathTree, type Run, type Told, treeOf } from './run.ts'

/**
 * The errors of a run, each at a place that the client has. One of what only the plan needed is told
 * where it leaves the client without something, if it does. Of several on the way to one value only
 * the outermost is told: in one execution, nothing below it would have run. Beyond `MAX_ERRORS` they
 * are counted.
 */
export function errorsOf(run: Run, shown: Shown): readonly GraphQLError[] {
  const { told, errors } = run
  if (told.length === 0) return errors
  const standing = standingOf(run, shown)
  const tree: PathTree = { below: new Map(), first: null }
  for (const { told: it, path } of standing) if (path) add(tree, path, it)
  const taken = new Set<PathTree>()
  let leftOut = 0
  for (const { told: it, path } of standing) {
    if (path && !isOutermost(tree, path, taken)) continue
    if (errors.length >= MAX_ERRORS) {
      leftOut++
      continue
    }
    const originalError = typeof it.why === 'string' ? null : it.why()
    const message = originalError ? originalError.message : String(it.why)
    errors.push(new GraphQLError(message, { originalError, path }))
  }
  if (leftOut > 0) {
    const originalError = new LeftOut(leftOut)
    errors.push(new GraphQLError(originalError.message, { originalError }))
  }
  return errors
}

/** The client's path of one in the data; null when the client did not ask for it. */
type Shown = (path: Path) => Path | null

type Standing = { readonly told: Told; readonly path: Path | null }

function standingOf({ data, told, skipped }: Run, shown: Shown): Standing[] {
  const all: Standing[] = []
  const counts = new Map<Told, number>()
  /** Lists of places that errors have in common, and whether any of these is shown. */
  const shared = new Map<readonly Path[], boolean>()
  for (const it of told) {
    if (!it.paths) all.push({ told: it, path: null })
    else {
      stand(it, it.paths, it.limit)
      if (!counts.has(it) && !shared.get(it.holes)) {
        if (!shared.has(it.holes)) {
          stand(it, it.holes, Math.min(it.limit, MAX_HOLES))
          shared.set(it.holes, counts.has(it))
        }
        if (!counts.has(it)) {
          const above = it.paths.flatMap((path) => risen(data, path))
          stand(it, above, it.limit)
        }
      }
    }
  }
  if (skipped.length === 0) return all
  const root = treeOf(told)
  for (const { cause, holes } of skipped) {
    const found = at(root, cause)
    const why = found && firstIn(found)
    if (!why) continue
    for (const path of holes) add(root, path, why)
    stand(why, holes, Math.min(why.limit, MAX_HOLES))
  }
  return all

  function stand(it: Told, paths: readonly Path[], limit: number): void {
    let count = counts.get(it) ?? 0
    for (const path of paths) {
      if (count >= limit) break
      const place = shown(path)
      if (!place) continue
      counts.set(it, ++count)
      all.push({ told: it, path: place })
    }
  }
}

/** The null above a place to which that of an error rose; none when it did not. */
function risen(data: JsonObject, path: Path): Path[] {
  let value: unknown = data
  for (const [index, step] of path.entries()) {
    if (typeof value !== 'object') return []
    if (value === null) return [path.slice(0, index)]
    value = Array.isArray(value) ? value[step as number] : read(value as JsonObject, String(step))
  }
  return []
}

/** Whether no error stands above a place, and none was told there. */
function isOutermost(root: PathTree, path: Path, taken: Set<PathTree>): boolean {
  let tree: PathTree | undefined = root
  for (const step of path) {
    if (tree?.first) return false
    tree = tree?.below.get(step)
  }
  if (!tree || taken.has(tree)) return false
  taken.add(tree)
  return true
}
