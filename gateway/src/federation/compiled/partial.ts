import type { QueryPlanSelectionNode } from '@apollo/query-planner'
import { Kind, type SelectionSetNode } from 'graphql'
import type { Demand } from './demands.ts'
import { isObject, type JsonObject, read, write } from './json.ts'
import type { Path, PathTree } from './run.ts'
import { type Types, typenameOf } from './types.ts'

type Fields = readonly QueryPlanSelectionNode[]

/** A representation with what there is, and the fields that cannot be asked for by it. */
export type Partial = { readonly text: string; readonly lacking: readonly Lacking[] }

export type Lacking = {
  readonly demand: Demand
  /** What of the entity is missing. */
  readonly cause: Path
}

/**
 * The representation of an entity that does not have all that a fetch wants. One fetch serves
 * several fields, and what one of them requires may not be there: it was not asked for, because of a
 * condition or for entities of this type, or it failed. Then the others are asked for without it.
 *
 * @param as the type's name in the subgraph
 * @param fields what a whole representation has
 * @param failures what is empty because of errors, below the entity
 * @returns null when what is left does not tell which entity it is
 */
export function represent(
  { types, demands, keys }: PartialOf,
  entity: JsonObject,
  { as, fields, failures }: { as: string; fields: Fields; failures: PathTree | null },
): Partial | null {
  const typename = typenameOf(entity)
  if (typename === null) return null
  const lacking: Lacking[] = []
  const needed = new Set<string>()
  const required = new Set<string>()
  for (const demand of demands) {
    const { on, requires } = demand
    if (on !== null && !types.isOf(typename, on) && !types.isOf(as, on)) continue
    const cause = lack(types, entity, requires, failures)
    if (cause) lacking.push({ demand, cause })
    for (const key of keysIn(requires)) {
      required.add(key)
      if (!cause) needed.add(key)
    }
  }
  const isNamed = keys.some((it) => !lack(types, entity, it, null))
  if (keys.length > 0 && !isNamed) return null
  const isKey = new Set(keys.flatMap((it) => [...keysIn(it)]))
  const representation: JsonObject = {}
  for (const field of fields) {
    if (field.kind !== 'Field') return null
    const key = field.alias ?? field.name
    if (key === '__typename') representation.__typename = as
    else {
      const isRequired = required.has(key)
      if (isRequired && !needed.has(key) && !isKey.has(key)) continue
      const value = pruned(types, read(entity, key), field.selections)
      if (value !== undefined) write(representation, key, value)
      else if (!isRequired && !isKey.has(key)) return null
    }
  }
  if (representation.__typename === undefined) return null
  return { text: JSON.stringify(representation), lacking }
}

export type PartialOf = {
  readonly types: Types
  readonly demands: readonly Demand[]
  readonly keys: readonly SelectionSetNode[]
}

function keysIn(set: SelectionSetNode): Set<string> {
  const keys = new Set<string>()
  for (const it of set.selections) {
    if (it.kind === Kind.FIELD) keys.add(it.alias?.value ?? it.name.value)
    else if (it.kind === Kind.INLINE_FRAGMENT)
      for (const key of keysIn(it.selectionSet)) keys.add(key)
  }
  return keys
}

/** Where something of a selection is missing in an object, or null because of an error. */
function lack(
  types: Types,
  object: JsonObject,
  { selections }: SelectionSetNode,
  failures: PathTree | null,
): Path | null {
  for (const it of selections) {
    if (it.kind === Kind.FIELD) {
      const key = it.alias?.value ?? it.name.value
      const at = failures?.below.get(key) ?? null
      const below = lackIn(types, read(object, key), it.selectionSet, at)
      if (below) return [key, ...below]
    } else if (it.kind === Kind.INLINE_FRAGMENT) {
      const typename = typenameOf(object)
      const condition = it.typeCondition?.name.value
      if (condition && typename !== null && !types.isOf(typename, condition)) continue
      const below = lack(types, object, it.selectionSet, failures)
      if (below) return below
    }
  }
  return null
}

function lackIn(
  types: Types,
  value: unknown,
  set: SelectionSetNode | undefined,
  failures: PathTree | null,
): Path | null {
  if (value === undefined || (value === null && failures)) return []
  if (Array.isArray(value)) {
    if (!set && !failures) return null
    for (const [index, item] of value.entries()) {
      const below = lackIn(types, item, set, failures?.below.get(index) ?? null)
      if (below) return [index, ...below]
    }
    return null
  }
  return set && isObject(value) ? lack(types, value, set, failures) : null
}

function pruned(types: Types, value: unknown, fields: Fields | undefined): unknown {
  if (!fields) return value
  if (Array.isArray(value)) return value.map((it) => pruned(types, it, fields))
  if (!isObject(value)) return value
  const result: JsonObject = {}
  for (const it of fields) {
    if (it.kind === 'Field') {
      const key = it.alias ?? it.name
      const part = pruned(types, read(value, key), it.selections)
      if (part !== undefined) write(result, key, part)
      continue
    }
    const typename = typenameOf(value)
    if (it.typeCondition && typename !== null && !types.isOf(typename, it.typeCondition)) continue
    Object.assign(result, pruned(types, value, it.selections))
  }
  return result
}
