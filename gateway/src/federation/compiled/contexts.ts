import type { FetchDataKeyRenamer } from '@apollo/query-planner'
import { isObject, type JsonObject, read } from './json.ts'
import { type PlanPath, placesAt } from './paths.ts'
import { conditionOf } from './rewrites.ts'
import type { Run } from './run.ts'
import { type Types, typenameOf } from './types.ts'

/** Objects whose contexts are alike, and these as variables: the text of members. */
export type Contextual = { readonly objects: readonly JsonObject[]; readonly variables: string }

/**
 * Arguments that come `@fromContext`: from objects above the entity, so that entities which differ
 * in nothing else must be asked for apart.
 */
export function compileContexts(
  types: Types,
  rewrites: readonly FetchDataKeyRenamer[] | undefined,
  path: PlanPath,
): ((run: Run, objects: readonly JsonObject[]) => readonly Contextual[]) | null {
  if (!rewrites || rewrites.length === 0) return null
  const names = [...new Set(rewrites.map((it) => it.renameKeyTo))]
  return (run, objects) => {
    const places = placesAt(run, path)
    const groups = new Map<string, JsonObject[]>()
    for (const object of objects) {
      const [place] = places.get(object) ?? []
      const variables = textOf(place?.above ?? [])
      const group = groups.get(variables)
      if (group) group.push(object)
      else groups.set(variables, [object])
    }
    return Array.from(groups, ([variables, it]) => ({ objects: it, variables }))
  }

  function textOf(above: readonly JsonObject[]): string {
    const members: string[] = []
    for (const name of names) {
      const value = contextOf(name, above)
      if (value !== undefined) members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`)
    }
    return members.join(',')
  }

  function contextOf(name: string, above: readonly JsonObject[]): unknown {
    for (const rewrite of rewrites ?? []) {
      if (rewrite.renameKeyTo !== name) continue
      const ups = rewrite.path.filter((it) => it === '..').length
      const value = valueAt(types, above.at(-Math.max(ups, 1)), rewrite.path.slice(ups))
      if (value !== undefined) return value
    }
    return undefined
  }
}

function valueAt(types: Types, value: unknown, path: readonly string[]): unknown {
  const [step, ...rest] = path
  if (step === undefined || value === null) return value
  if (Array.isArray(value)) return value.map((it) => valueAt(types, it, path))
  if (!isObject(value)) return undefined
  const condition = conditionOf(step)
  if (condition === null) return valueAt(types, read(value, step), rest)
  const typename = typenameOf(value)
  const isMeant = typename === null || types.isOf(typename, condition)
  return isMeant ? valueAt(types, value, rest) : undefined
}
