import {
  BreakingChangeType,
  buildASTSchema,
  buildSchema,
  DangerousChangeType,
  type DocumentNode,
  findBreakingChanges,
  findDangerousChanges,
  type GraphQLSchema,
  isInputObjectType,
  isScalarType,
  parse,
} from 'graphql'
import { type Element, elementsOf, withoutElements } from './elements.ts'
import { withoutUnreachable } from './reachable.ts'

/** What a change does to those who use the released schema. */
export type Change = {
  /**
   * `breaking`: what worked does not. `policy`: a deprecation that does not say until when, or ends
   * sooner than it said. `dangerous`: what worked may not, as an exhaustive `switch` over an enum.
   * `announced`: a deprecation, or a removal whose time has come.
   */
  readonly level: 'breaking' | 'policy' | 'dangerous' | 'announced'
  /** The schema coordinate: `Type.field(argument:)`. */
  readonly at: string
  readonly what: string
  /** Of a deprecation that is new: the day after which what is deprecated may go, `YYYY-MM-DD`. */
  readonly until?: string
}

const REMOVED_AFTER = /\S.* Removed after (\d{4}-\d{2}-\d{2})\.$/s

/**
 * What a schema changes for the users of the one released before: what graphql-js finds, each with its
 * coordinate, what graphql-js does not look at, and what the deprecation policy says.
 *
 * @param released SDL
 * @param next SDL
 * @param today `YYYY-MM-DD`, in UTC
 * @returns the worst first; empty when nothing can be noticed but additions
 */
export function changes(released: string, next: string, today: string): Change[] {
  const document = parse(released, { noLocation: true })
  const before = elementsOf(buildASTSchema(document))
  const to = buildSchema(next)
  const after = elementsOf(to)
  const lapsed = new Set(
    [...before].filter(([at, it]) => !after.has(at) && hasLapsed(it, today)).map(([at]) => at),
  )
  const from = stillPromised(document, lapsed)
  const breaking = [...found(findBreakingChanges(from, to), before), ...alsoBreaking(from, to)]
  const broken = new Set(breaking.map(({ at }) => at))
  return [
    ...breaking,
    ...[...after].flatMap(([at, it]) => unclear(at, it, before.get(at))),
    ...[...found(findDangerousChanges(from, to), before), ...alsoDangerous(from, to)].filter(
      ({ at }) => !broken.has(at),
    ),
    ...[...after].flatMap(([at, it]) => announced(at, it, before.get(at))),
    ...[...lapsed].map((at) => ({
      level: 'announced' as const,
      at,
      what: `was removed: it was promised until ${removedAfter(before.get(at))}.`,
    })),
  ]
}

/** The released schema without what was deprecated, has had its time, and is gone. */
function stillPromised(document: DocumentNode, lapsed: ReadonlySet<string>): GraphQLSchema {
  const rest = withoutElements(document, lapsed)
  return withoutUnreachable(buildASTSchema(rest, { assumeValid: true }))
}

type Found = { readonly type: string; readonly description: string }

function found(list: readonly Found[], before: ReadonlyMap<string, Element>): Change[] {
  return list.map(({ type, description }) => {
    const at = coordinateOf(type, description)
    const level = type in DangerousChangeType ? 'dangerous' : 'breaking'
    return { level, at, what: `${description}${whyNotYet(type, before.get(at))}` }
  })
}

/** graphql-js tells in words where a change is. */
function coordinateOf(type: string, description: string): string {
  for (const [pattern, coordinate] of type.includes('DIRECTIVE') ? IN_DIRECTIVES : IN_TYPES) {
    if (pattern.test(description)) return description.replace(pattern, coordinate)
  }
  return description
}

const IN_DIRECTIVES: readonly (readonly [RegExp, string])[] = [
  [/^A required arg (\w+) on directive (\w+) was added\.$/, '@$2($1:)'],
  [/^Repeatable flag was removed from (\w+)\.$/, '@$1'],
  [/^[A-Z_]+ was removed from (\w+)\.$/, '@$1'],
  [/^(\w+) was removed from (\w+)\.$/, '@$2($1:)'],
  [/^(\w+) was removed\.$/, '@$1'],
]

const IN_TYPES: readonly (readonly [RegExp, string])[] = [
  [/^An? (?:required|optional) arg (\w+) on (\w+\.\w+) was added\.$/, '$2($1:)'],
  [/^An? (?:required|optional) field (\w+) on input type (\w+) was added\.$/, '$2.$1'],
  [/^(\w+) was (?:added to|removed from) enum type (\w+)\.$/, '$2.$1'],
  [/^\w+ was (?:added to|removed from) union type (\w+)\.$/, '$1'],
  [/^\w+ added to interfaces implemented by (\w+)\.$/, '$1'],
  [/^Standard scalar (\w+) was removed.*$/, '$1'],
  [/^(\w+\.\w+) arg (\w+) .*$/s, '$1($2:)'],
  [/^(\w+\.\w+) .*$/s, '$1'],
  [/^(\w+) .*$/s, '$1'],
]

const REMOVALS: readonly string[] = [
  BreakingChangeType.FIELD_REMOVED,
  BreakingChangeType.ARG_REMOVED,
  BreakingChangeType.VALUE_REMOVED_FROM_ENUM,
]

function whyNotYet(type: string, element: Element | undefined): string {
  if (!element || !REMOVALS.includes(type)) return ''
  const until = removedAfter(element)
  return until ? ` It was promised until ${until}.` : ' Deprecate it first.'
}

function alsoBreaking(from: GraphQLSchema, to: GraphQLSchema): Change[] {
  const after = elementsOf(to)
  const level = 'breaking' as const
  const required = [...elementsOf(from)].flatMap(([at, was]) => {
    const is = after.get(at)
    if (!is?.isRequired || was.isRequired || was.type !== is.type) return []
    return [{ level, at, what: 'became required: it has lost its default value.' }]
  })
  const typed = [...elementsOf(from)].flatMap(([at, was]) => {
    const is = after.get(at)
    if (!at.startsWith('@') || !is || was.type === is.type) return []
    return [{ level, at, what: `changed type from ${was.type} to ${is.type}.` }]
  })
  const oneOf = Object.values(from.getTypeMap()).flatMap((was) => {
    const is = to.getType(was.name)
    if (!isInputObjectType(was) || !isInputObjectType(is) || was.isOneOf || !is.isOneOf) return []
    return [{ level, at: was.name, what: 'takes exactly one of its fields now (@oneOf).' }]
  })
  const roots = (['Query', 'Mutation', 'Subscription'] as const).flatMap((kind) => {
    const was = from[`get${kind}Type`]()
    const is = to[`get${kind}Type`]()
    if (!was || was.name === is?.name) return []
    const what = `is not the type of ${kind.toLowerCase()} operations any more.`
    return [{ level, at: was.name, what }]
  })
  return [...required, ...typed, ...oneOf, ...roots]
}

function alsoDangerous(from: GraphQLSchema, to: GraphQLSchema): Change[] {
  const after = elementsOf(to)
  const level = 'dangerous' as const
  const defaults = [...elementsOf(from)].flatMap(([at, was]) => {
    const is = after.get(at)
    // Of arguments graphql-js tells.
    if (was.kind !== 'inputField' || !is || was.default === is.default) return []
    const what = `changed its default value from ${was.default ?? 'none'} to ${is.default ?? 'none'}.`
    return [{ level, at, what }]
  })
  const scalars = Object.values(from.getTypeMap()).flatMap((was) => {
    const is = to.getType(was.name)
    if (!isScalarType(was) || !isScalarType(is) || was.specifiedByURL === is.specifiedByURL)
      return []
    return [{ level, at: was.name, what: 'is specified otherwise (@specifiedBy).' }]
  })
  return [...defaults, ...scalars]
}

function unclear(at: string, is: Element, was: Element | undefined): Change[] {
  const level = 'policy' as const
  if (is.deprecated === undefined) return []
  const until = removedAfter(is)
  if (!until) {
    const form = 'what to use instead, and then "Removed after 2030-01-31."'
    return [{ level, at, what: `is deprecated without a date. Its reason must say ${form}` }]
  }
  const promised = removedAfter(was)
  if (!promised || promised <= until) return []
  return [{ level, at, what: `was promised until ${promised}, and now until ${until}.` }]
}

function announced(at: string, is: Element, was: Element | undefined): Change[] {
  const until = removedAfter(is)
  if (!until || was?.deprecated !== undefined) return []
  return [{ level: 'announced', at, until, what: `is deprecated, and promised until ${until}.` }]
}

function hasLapsed(element: Element, today: string): boolean {
  const until = removedAfter(element)
  return until !== undefined && until < today
}

/** The day that the reason of a deprecation names, when it is one. */
function removedAfter(element: Element | undefined): string | undefined {
  const day = REMOVED_AFTER.exec(element?.deprecated ?? '')?.[1]
  if (!day) return undefined
  const date = new Date(`${day}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day) ? day : undefined
}
