import type { FetchDataRewrite, FetchNode, QueryPlanSelectionNode } from '@apollo/query-planner'
import { isInherited, isObject, type JsonObject, quoted, read, write } from './json.ts'
import { merge } from './merge.ts'
import { compileRewrites, conditionOf } from './rewrites.ts'
import { type Types, typenameOf } from './types.ts'

/** The JSON text of an entity's representation; null when what it needs is not there. */
type Represent = (entity: JsonObject) => string | null

export type Representation = {
  readonly text: Represent
  /**
   * The field that alone tells representations of this type apart; null when there is none, and the
   * text has to.
   */
  readonly sole: string | null
}

type Fields = readonly QueryPlanSelectionNode[]

/**
 * The representations of one fetch, by the type of the entity. What is written is worked out when
 * the first of a type is seen: text directly where its selection is plain, by way of an object where
 * fragments overlap or rewrites reach deep.
 */
export function compileRepresentations(
  types: Types,
  { serviceName, requires = [], inputRewrites: rewrites }: FetchNode,
): (typename: string) => Representation {
  const byType = new Map<string, Representation>()
  const isKnown = (typename: unknown) => types.isIn(serviceName, typename)
  const general = { text: throughObjects(types, requires, rewrites, isKnown), sole: null }
  return (typename) => {
    let representation = byType.get(typename)
    if (!representation) {
      representation = plain(types, typename, { requires, rewrites, isKnown }) ?? general
      // There are no more types than the supergraph has, unless a subgraph makes them up.
      if (byType.size < MAX_TYPES) byType.set(typename, representation)
    }
    return representation
  }
}

const MAX_TYPES = 1_000

function plain(
  types: Types,
  typename: string,
  { requires, rewrites = [], isKnown }: Of,
): Representation | null {
  const fitting = requires.filter(
    (it) => it.kind === 'Field' || !it.typeCondition || types.isOf(typename, it.typeCondition),
  )
  const [fragment] = fitting
  if (fitting.length !== 1 || fragment?.kind !== 'InlineFragment') return null
  let sent: unknown
  for (const { kind, path, ...rewrite } of rewrites) {
    const [condition, key] = path
    const type = condition === undefined ? null : conditionOf(condition)
    if (kind !== 'ValueSetter' || path.length !== 2 || key !== '__typename' || !type) return null
    if (types.isOf(typename, type)) sent = (rewrite as { setValueTo: unknown }).setValueTo
  }
  if (!isKnown(sent ?? typename)) return UNKNOWN
  const text = writer(fragment.selections, typeof sent === 'string' ? sent : null)
  return text && { text, sole: soleOf(fragment.selections) }
}

type Of = {
  readonly requires: Fields
  readonly rewrites: readonly FetchDataRewrite[] | undefined
  readonly isKnown: (typename: unknown) => boolean
}

/** The planner may ask for all of an interface what is of some of its types. */
const UNKNOWN: Representation = Object.freeze({ text: () => null, sole: null })

function soleOf(selections: Fields): string | null {
  const [one, ...others] = selections.filter(
    (it) => it.kind === 'Field' && it.name !== '__typename',
  )
  if (one?.kind !== 'Field' || one.selections || others.length > 0) return null
  const key = one.alias ?? one.name
  return isInherited(key) ? null : key
}

/** Null when the selection is not made of fields alone. */
function writer(selections: Fields, typename: string | null): Represent | null {
  const parts: Part[] = []
  for (const selection of selections) {
    if (selection.kind !== 'Field') return null
    const key = selection.alias ?? selection.name
    const below = selection.selections ? writer(selection.selections, null) : null
    if (selection.selections && !below) return null
    const constant = key === '__typename' && typename !== null ? quoted(typename) : null
    if (parts.some((it) => it.key === key)) return null
    const before = `${parts.length === 0 ? '{' : ','}${JSON.stringify(key)}:`
    parts.push({ key, isInherited: isInherited(key), before, below, constant })
  }
  // Without its type a representation stands for nothing; nested objects need none.
  if (typename !== null && !parts.some((it) => it.key === '__typename')) return null
  return (object) => {
    let text = ''
    for (const part of parts) {
      const value = part.isInherited ? read(object, part.key) : object[part.key]
      if (value === undefined) return null
      text += part.before + (part.constant ?? valueText(value, part.below))
    }
    return `${text}}`
  }
}

type Part = {
  readonly key: string
  readonly isInherited: boolean
  readonly before: string
  readonly below: Represent | null
  readonly constant: string | null
}

function valueText(value: unknown, below: Represent | null): string {
  if (typeof value === 'string') return quoted(value)
  if (!below || value === null || typeof value !== 'object') return JSON.stringify(value)
  if (!Array.isArray(value)) return below(value as JsonObject) ?? 'null'
  return `[${value.map((item) => valueText(item, below)).join(',')}]`
}

function throughObjects(
  types: Types,
  requires: Fields,
  rewrites: readonly FetchDataRewrite[] | undefined,
  isKnown: (typename: unknown) => boolean,
): Represent {
  const rewrite = compileRewrites(types, rewrites)
  return (entity) => {
    const representation = select(types, entity, requires)
    if (!representation || representation.__typename === undefined) return null
    rewrite?.(representation)
    if (!isKnown(representation.__typename)) return null
    return JSON.stringify(representation)
  }
}

function select(types: Types, source: JsonObject, selections: Fields): JsonObject | null {
  const result: JsonObject = {}
  for (const selection of selections) {
    if (selection.kind === 'Field') {
      const key = selection.alias ?? selection.name
      const value = read(source, key)
      if (value === undefined) return null
      const part = selected(types, value, selection.selections)
      const sent: JsonObject = {}
      write(sent, key, part)
      merge(result, sent, false)
    } else {
      const typename = typenameOf(source)
      const condition = selection.typeCondition
      if (condition && (typename === null || !types.isOf(typename, condition))) continue
      const part = select(types, source, selection.selections)
      if (part) merge(result, part, false)
    }
  }
  return result
}

function selected(types: Types, value: unknown, selections: Fields | undefined): unknown {
  if (!selections) return value
  if (Array.isArray(value)) return value.map((item) => selected(types, item, selections))
  return isObject(value) ? select(types, value, selections) : value
}
