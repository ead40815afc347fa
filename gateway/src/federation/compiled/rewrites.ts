import type { FetchDataRewrite } from '@apollo/query-planner'
import { type JsonObject, read, write } from './json.ts'
import type { Path } from './run.ts'
import { type Types, typenameOf } from './types.ts'

export type Rewrite = (value: unknown) => void

/**
 * What the planner wants changed in what is sent to a subgraph, or in what came back: a value that
 * is set (`__typename`, where the subgraph knows an interface as an object), or a key that is named
 * back (fields of one name that cannot be merged are asked for under aliases).
 */
export function compileRewrites(
  types: Types,
  rewrites: readonly FetchDataRewrite[] | undefined,
): Rewrite | null {
  if (!rewrites || rewrites.length === 0) return null
  const all = rewrites.map((it) => compileRewrite(types, it))
  return (value) => {
    for (const rewrite of all) rewrite(value)
  }
}

const FRAGMENT = '... on '

/** The type of a path's step that is a condition on types. */
export function conditionOf(step: string): string | null {
  return step.startsWith(FRAGMENT) ? step.slice(FRAGMENT.length) : null
}

function compileRewrite(types: Types, rewrite: FetchDataRewrite): Rewrite {
  const steps = rewrite.path.slice(0, -1)
  const key = rewrite.path.at(-1)
  if (key === undefined) return () => undefined
  return at(types, steps, (object) => {
    if (rewrite.kind === 'ValueSetter') {
      write(object, key, rewrite.setValueTo)
      return
    }
    const value = read(object, key)
    if (value === undefined) return
    write(object, rewrite.renameKeyTo, value)
    write(object, key, undefined)
  })
}

function at(types: Types, steps: readonly string[], apply: (object: JsonObject) => void): Rewrite {
  const [step, ...rest] = steps
  const inner = step === undefined ? apply : at(types, rest, apply)
  const condition = step === undefined ? null : conditionOf(step)
  return function rewrite(value) {
    if (Array.isArray(value)) for (const item of value) rewrite(item)
    else if (typeof value === 'object' && value !== null) {
      const object = value as JsonObject
      if (step === undefined) inner(object)
      else if (condition === null) (inner as Rewrite)(read(object, step))
      else {
        const typename = typenameOf(object)
        if (typename === null || types.isOf(typename, condition)) inner(object)
      }
    }
  }
}

/** A path in the answer as the subgraph gave it, with the names that the client gave. */
export function renamed(path: Path, rewrites: readonly FetchDataRewrite[] | undefined): Path {
  let result: (string | number)[] | null = null
  for (const rewrite of rewrites ?? []) {
    if (rewrite.kind !== 'KeyRenamer') continue
    const keys = rewrite.path.filter((it) => conditionOf(it) === null)
    let matched = 0
    let index = 0
    for (; index < path.length && matched < keys.length; index++) {
      if (typeof path[index] === 'number') continue
      if (path[index] !== keys[matched]) break
      matched++
    }
    if (matched < keys.length) continue
    result ??= [...path]
    result[index - 1] = rewrite.renameKeyTo
  }
  return result ?? path
}
