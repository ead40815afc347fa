import type { ResponsePath } from '@apollo/query-planner'
import { isInherited, isObject, type JsonObject, read } from './json.ts'
import { NotCompiled } from './not-compiled.ts'
import type { Path, Run } from './run.ts'

/** Where a fetch's data belongs: response names, and '@' for every item of a list. */
export type PlanPath = readonly string[]

/** @throws {NotCompiled} when the path has conditions */
export function planPathOf(path: ResponsePath): PlanPath {
  return path.map((step) => {
    if (typeof step !== 'string' || !/^(@|[_A-Za-z]\w*)$/.test(step)) throw new NotCompiled('path')
    return step
  })
}

/** Gathers the objects at a path below those given; what is null on the way is passed over. */
export function compileCollect(
  path: PlanPath,
): (objects: readonly JsonObject[]) => readonly JsonObject[] {
  const inherited = path.map(isInherited)
  return (objects) => {
    const found: JsonObject[] = []
    for (const object of objects) collect(object, 0, found)
    return found
  }

  function collect(from: unknown, start: number, found: JsonObject[]): void {
    let value = from
    for (let i = start; i < path.length; i++) {
      if (typeof value !== 'object' || value === null) return
      const step = path[i] as string
      if (Array.isArray(value)) {
        // The planner writes '@' for a list. Were it to leave it out, every item would be meant.
        const next = step === '@' ? i + 1 : i
        for (const item of value) collect(item, next, found)
        return
      }
      value = inherited[i] ? read(value as JsonObject, step) : (value as JsonObject)[step]
    }
    if (Array.isArray(value)) for (const item of value) collect(item, path.length, found)
    else if (typeof value === 'object' && value !== null) found.push(value as JsonObject)
  }
}

export type Place = {
  readonly path: Path
  /** The objects above it, the root first. */
  readonly above: readonly JsonObject[]
}

/**
 * Where in the answer each object at a path stands: several places, when entities that are the same
 * share what was fetched for them. For errors and contexts; without them nothing asks.
 */
export function placesAt(run: Run, path: PlanPath): Map<JsonObject, Place[]> {
  const found = new Map<JsonObject, Place[]>()
  walk(run.data, 0, [], [])
  return found

  function walk(value: unknown, step: number, at: Path, above: readonly JsonObject[]): void {
    if (Array.isArray(value)) {
      const next = path[step] === '@' ? step + 1 : step
      for (const [index, item] of value.entries()) walk(item, next, [...at, index], above)
    } else if (isObject(value)) {
      const key = path[step]
      if (key !== undefined) walk(read(value, key), step + 1, [...at, key], [...above, value])
      else {
        const places = found.get(value)
        if (places) places.push({ path: at, above })
        else found.set(value, [{ path: at, above }])
      }
    }
  }
}

/** Copies what lies on the paths, so that what is added there is not added to the original. */
export function copyAlong(data: JsonObject, paths: readonly PlanPath[]): JsonObject {
  return copy(data, paths) as JsonObject
}

function copy(value: unknown, paths: readonly PlanPath[]): unknown {
  if (Array.isArray(value)) {
    const below = paths.map((it) => (it[0] === '@' ? it.slice(1) : it))
    return value.map((item) => copy(item, below))
  }
  if (!isObject(value)) return value
  const result = { ...value }
  const below = new Map<string, PlanPath[]>()
  for (const [key, ...rest] of paths) {
    if (key === undefined) continue
    const known = below.get(key)
    if (known) known.push(rest)
    else below.set(key, [rest])
  }
  for (const [key, rest] of below) {
    if (Object.hasOwn(result, key)) {
      Object.defineProperty(result, key, {
        value: copy(result[key], rest),
        configurable: true,
        enumerable: true,
        writable: true,
      })
    }
  }
  return result
}
