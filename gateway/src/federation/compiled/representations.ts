import type { FetchDataRewrite, FetchNode, QueryPlanSelectionNode } from '@apollo/query-planner'
import { isInherited, isObject, type JsonObject, quoted, read, write } from './json.ts'
import { merge } from './merge.ts'
import { compileRewrites, conditionOf } from './rewrites.ts'
import { type Types, typenameOf } from './types.ts'

/** The JSON text of an entity's representation; null when what it needs is not there. */
type Represent = (entity: JsonObject) => string | null

export type Representation = {
  /** Null when what it wants is not all there: see `represent`. */
  readonly text: Represent
  /**
   * The field that alone tells representations of this type apart; null when there is none, and the
   * text has to.
   */
  readonly sole: string | null
  /** What it wants; null when it is not to be had in part. */
  readonly fields: Fields | null
  /** The type's name in the subgraph. */
  readonly as: string
}

type Fields = readonly QueryPlanSelectionNode[]

/**
 * The representations of one fetch, by the type of the entity. What is written is worked out when
 * the first of a type is seen: text directly where its selection is plain, by way of an object where
 * it has abstract types below, or rewrites reach deep.
 */
export function compileRepresentations(
  types: Types,
  { serviceName, requires = [], inputRewrites: rewrites }: FetchNode,
): (typename: string) => Representation {
  const byType = new Map<string, Representation>()
  const isKnown = (typename: unknown) => types.isIn(serviceName, typename)
  return (typename) => {
    let representation = byType.get(typename)
    if (!representation) {
      representation = representationOf(types, typename, { requires, rewrites, isKnown })
      // There are no more types than the supergraph has, unless a subgraph makes them up.
      if (byType.size < MAX_TYPES) byType.set(typename, representation)
    }
    return representation
  }
}

const MAX_TYPES = 1_000

function representationOf(
  types: Types,
  typename: string,
  { requires, rewrites = [], isKnown }: Of,
): Representation {
  const fields = requiredOf(types, typename, requires)
  let sent: unknown = null
  for (const { kind, path, ...rewrite } of rewrites) {
    const [condition, key] = path
    const type = condition === undefined ? null : conditionOf(condition)
    if (kind !== 'ValueSetter' || path.length !== 2 || key !== '__typename' || !type) {
      const text = throughObjects(types, fields, rewrites, isKnown)
      return { text, sole: null, fields: null, as: typename }
    }
    if (types.isOf(typename, type)) sent = (rewrite as { setValueTo: unknown }).setValueTo
  }
  const as = typeof sent === 'string' ? sent : typename
  // The planner may ask for all of an interface what is of some of its types.
  if (!isKnown(as) || fields.length === 0) {
    return { text: () => null, sole: null, fields: null, as }
  }
  const text = writer(fields, typeof sent === 'string' ? sent : null)
  if (text) return { text, sole: soleOf(fields), fields, as }
  return { text: throughObjects(types, fields, rewrites, isKnown), sole: null, fields, as }
}

/** What is required of a type, each field once. */
export function requiredOf(types: Types, typename: string, requires: Fields): Fields {
  return merged(
    requires.flatMap((it) => {
      if (it.kind === 'Field') return [it]
      return !it.typeCondition || types.isOf(typename, it.typeCondition) ? it.selections : []
    }),
  )
}

type Of = {
  readonly requires: Fields
  readonly rewrites: readonly FetchDataRewrite[] | undefined
  readonly isKnown: (typename: unknown) => boolean
}

/** Each field once: the planner may want one for several reasons. */
function merged(selections: Fields): Fields {
  const fields = new Map<string, QueryPlanSelectionNode>()
  const rest: QueryPlanSelectionNode[] = []
  for (const it of selections) {
    if (it.kind !== 'Field') {
      rest.push(it)
      continue
    }
    const key = it.alias ?? it.name
    const known = fields.get(key)
    const below = [
      ...((known?.kind === 'Field' && known.selections) || []),
      ...(it.selections ?? []),
    ]
    fields.set(key, below.length > 0 ? { ...it, selections: [...merged(below)] } : it)
  }
  return [...fields.values(), ...rest]
}

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
      const valued = part.constant ?? valueText(value, part.below)
      if (valued === null) return null
      text += part.before + valued
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

/** Null when something is missing below. */
function valueText(value: unknown, below: Represent | null): string | null {
  if (typeof value === 'string') return quoted(value)
  if (!below || value === null || typeof value !== 'object') return JSON.stringify(value)
  if (!Array.isArray(value)) return below(value as JsonObject)
  const items = value.map((item) => valueText(item, below))
  return items.includes(null) ? null : `[${items.join(',')}]`
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

/** Null when something of it is missing. */
function select(types: Types, source: JsonObject, selections: Fields): JsonObject | null {
  const result: JsonObject = {}
  for (const selection of selections) {
    if (selection.kind === 'Field') {
      const key = selection.alias ?? selection.name
      const value = read(source, key)
      const part = value === undefined ? MISSING : selected(types, value, selection.selections)
      if (part === MISSING) return null
      const sent: JsonObject = {}
      write(sent, key, part)
      merge(result, sent, false)
    } else {
      const typename = typenameOf(source)
      const condition = selection.typeCondition
      if (condition && (typename === null || !types.isOf(typename, condition))) continue
      const part = select(types, source, selection.selections)
      if (!part) return null
      merge(result, part, false)
    }
  }
  return result
}

const MISSING = Symbol('missing')

function selected(types: Types, value: unknown, selections: Fields | undefined): unknown {
  if (!selections) return value
  if (Array.isArray(value)) {
    const items = value.map((item) => selected(types, item, selections))
    return items.includes(MISSING) ? MISSING : items
  }
  return isObject(value) ? (select(types, value, selections) ?? MISSING) : value
}
