import { DomainError } from '@berth/platform/errors'
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'

/** What one operation may be at most. Counts are those after fragments are spread. */
export const LIMITS = Object.freeze({
  /** Of the document's text, before it is read: comments and blanks are no tokens. */
  documentBytes: 64 * 1024,
  /** Of the whole document, while it is read: a longer one is never parsed to its end. */
  tokens: 2_000,
  depth: 12,
  fields: 1_000,
  aliases: 50,
  rootFields: 20,
  directives: 50,
  /** Variables that `@skip` and `@include` depend on: each combination is planned by itself. */
  conditions: 10,
  /**
   * `@skip` and `@include` within each other, of a subscription, even of `true` and `false`: it is
   * planned for all their values at once, and what that takes grows with the square of this.
   */
  conditionDepth: 8,
  /** What it may cost, as `@cost` and `@listSize` say. */
  cost: 10_000,
  /** Of the variables, as JSON. */
  variablesBytes: 64 * 1024,
  /** Lists and objects of the variables within each other; far fewer than a stack holds. */
  variablesDepth: 32,
})

/** What an operation is, measured. */
export type Shape = {
  readonly depth: number
  readonly fields: number
  readonly aliases: number
  readonly directives: number
  readonly conditions: number
  /** Zero unless it is a subscription. */
  readonly conditionDepth: number
  readonly rootFields: number
  /** Whether it asks for the schema: such a selection counts in nothing but `fields`. */
  readonly introspects: boolean
}

/**
 * Measures an operation of a valid document. Each fragment is measured once however often it is
 * spread, so that the work is linear in the document while the counts are those of the expansion.
 */
export function measure(document: DocumentNode, operation: OperationDefinitionNode): Shape {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const it of document.definitions) {
    if (it.kind === Kind.FRAGMENT_DEFINITION) fragments.set(it.name.value, it)
  }
  const measured = new Map<string, Shape>()
  const conditions = new Set<string>()
  const { directives = [], variableDefinitions = [] } = operation
  const shape = of(operation.selectionSet)
  const onHead = variableDefinitions.reduce((sum, it) => sum + (it.directives?.length ?? 0), 0)
  return {
    ...shape,
    directives: shape.directives + directives.length + onHead,
    conditions: conditions.size,
    conditionDepth: operation.operation === 'subscription' ? shape.conditionDepth : 0,
  }

  function of({ selections }: SelectionSetNode): Shape {
    const sum = {
      depth: 0,
      fields: 0,
      aliases: 0,
      directives: 0,
      conditions: 0,
      conditionDepth: 0,
      rootFields: 0,
      introspects: false,
    }
    for (const selection of selections) {
      const own = selection.directives?.length ?? 0
      const condition = own > 0 && collectConditions(selection, conditions) ? 1 : 0
      if (selection.kind === Kind.FIELD) {
        const { name, alias, selectionSet } = selection
        const isIntrospection = name.value === '__schema' || name.value === '__type'
        const below = selectionSet ? of(selectionSet) : NOTHING
        sum.fields += 1 + below.fields
        sum.rootFields += 1
        sum.introspects ||= isIntrospection || below.introspects
        sum.directives += own + below.directives
        sum.aliases += (alias ? 1 : 0) + below.aliases
        sum.conditionDepth = Math.max(sum.conditionDepth, condition + below.conditionDepth)
        if (!isIntrospection) sum.depth = Math.max(sum.depth, 1 + below.depth)
        continue
      }
      const below =
        selection.kind === Kind.INLINE_FRAGMENT
          ? of(selection.selectionSet)
          : ofFragment(selection.name.value)
      sum.fields += below.fields
      sum.rootFields += below.rootFields
      sum.introspects ||= below.introspects
      sum.directives += own + below.directives
      sum.aliases += below.aliases
      sum.conditionDepth = Math.max(sum.conditionDepth, condition + below.conditionDepth)
      sum.depth = Math.max(sum.depth, below.depth)
    }
    return sum
  }

  function ofFragment(name: string): Shape {
    const known = measured.get(name)
    if (known) return known
    // Set beforehand: validation refuses cycles, and if it did not, this would not hang on one.
    measured.set(name, NOTHING)
    const fragment = fragments.get(name)
    const shape = fragment ? of(fragment.selectionSet) : NOTHING
    measured.set(name, shape)
    return shape
  }
}

const NOTHING: Shape = Object.freeze({
  depth: 0,
  fields: 0,
  aliases: 0,
  directives: 0,
  conditions: 0,
  conditionDepth: 0,
  rootFields: 0,
  introspects: false,
})

/** @returns whether there are any */
function collectConditions({ directives = [] }: SelectionNode, into: Set<string>): boolean {
  let has = false
  for (const { name, arguments: given = [] } of directives) {
    if (name.value !== 'skip' && name.value !== 'include') continue
    has = true
    for (const { value } of given) if (value.kind === Kind.VARIABLE) into.add(value.name.value)
  }
  return has
}

/** @throws {DomainError} TOO_COMPLEX */
export function checkLength(text: string): void {
  // No character of JavaScript takes more than three bytes of UTF-8.
  if (text.length * 3 <= LIMITS.documentBytes) return
  const bytes = Buffer.byteLength(text)
  if (bytes <= LIMITS.documentBytes) return
  throw new DomainError(
    'TOO_COMPLEX',
    `The document is too long: ${bytes} bytes (at most ${LIMITS.documentBytes})`,
  )
}

/** @throws {DomainError} TOO_COMPLEX that names every limit passed, with both numbers */
export function checkShape(shape: Shape): void {
  const excesses = MEASURES.filter((it) => shape[it] > LIMITS[it]).map(
    (it) => `${WORDS[it]} ${shape[it]} (at most ${LIMITS[it]})`,
  )
  if (excesses.length > 0) {
    throw new DomainError('TOO_COMPLEX', `The operation is too complex: ${excesses.join(', ')}`)
  }
}

/** @throws {DomainError} TOO_COMPLEX */
export function checkCost(cost: number, most: number): void {
  if (cost <= most) return
  throw new DomainError(
    'TOO_COMPLEX',
    `The operation costs too much: ${cost} (at most ${most}). Ask for fewer items, or for less of each`,
  )
}

/** @throws {DomainError} TOO_COMPLEX */
export function checkVariables(variables: Readonly<Record<string, unknown>>): void {
  const most = mostBytes(variables, LIMITS.variablesDepth)
  if (most <= LIMITS.variablesBytes) return
  if (most === TOO_DEEP) {
    throw new DomainError(
      'TOO_COMPLEX',
      `The variables are nested too deeply: at most ${LIMITS.variablesDepth} levels`,
    )
  }
  const bytes = Buffer.byteLength(JSON.stringify(variables))
  if (bytes <= LIMITS.variablesBytes) return
  throw new DomainError(
    'TOO_COMPLEX',
    `The variables are too large: ${bytes} bytes (at most ${LIMITS.variablesBytes})`,
  )
}

const TOO_DEEP = Number.POSITIVE_INFINITY
const MOST_OF_A_CHARACTER = '\\u0000'.length
/** Of a number, true, false or null, in JSON. */
const MOST_OF_A_WORD = '-2.2250738585072014e-308'.length

/**
 * Bytes that a value takes as JSON at most, found without writing it; TOO_DEEP when it has more
 * levels. Looks no further than that: JSON may be nested deeper than any recursion.
 */
function mostBytes(value: unknown, levels: number): number {
  if (typeof value === 'string') return value.length * MOST_OF_A_CHARACTER + 2
  if (typeof value !== 'object' || value === null) return MOST_OF_A_WORD
  if (levels === 0) return TOO_DEEP
  let bytes = 2
  if (Array.isArray(value)) for (const item of value) bytes += mostBytes(item, levels - 1) + 1
  else {
    for (const key of Object.keys(value)) {
      const item = (value as Record<string, unknown>)[key]
      bytes += key.length * MOST_OF_A_CHARACTER + mostBytes(item, levels - 1) + 4
    }
  }
  return bytes
}

const MEASURES = [
  'depth',
  'fields',
  'aliases',
  'rootFields',
  'directives',
  'conditions',
  'conditionDepth',
] as const
const WORDS = {
  depth: 'depth',
  fields: 'fields',
  aliases: 'aliases',
  rootFields: 'root fields',
  directives: 'directives',
  conditions: 'condition variables',
  conditionDepth: 'conditions within each other',
}
