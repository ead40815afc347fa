import type { GraphQLFormattedError } from 'graphql'
import { type Expected, type Outcome, textOf } from './oracle.ts'

type Path = readonly (string | number)[]

/**
 * How an outcome differs from the oracle's; null when it does not.
 *
 * 1. `data` is the same JSON text: values, and the order of keys.
 * 2. An error whose place is in the answer (the null that it made, or where nothing could be run) is
 *    in both, equally often, with the same path, code and message.
 * 3. An error that made a null further up: which of several that could have made it is reported, and
 *    how many of them, depends on the order in which fields come to their ends, in graphql-js too. So
 *    at each such null both must report at least one, and what the executor reports must be an error
 *    that graphql-js reports when nothing bubbles, and none twice.
 */
export function difference(expected: Expected, actual: Outcome): string | null {
  if (actual.dataText !== expected.dataText) {
    const isOrder = sortedText(actual.dataText) === sortedText(expected.dataText)
    return `${isOrder ? 'order of keys' : 'data'}: expected ${expected.dataText}, got ${actual.dataText}`
  }
  const data: unknown = JSON.parse(expected.dataText ?? 'null')
  const wanted = byPlace(expected.errors, data)
  const given = byPlace(actual.errors, data)

  const missing = without(wanted.exact, given.exact)
  const surplus = without(given.exact, wanted.exact)
  if (missing.length > 0) return `missing errors: ${missing.join(' ')}${but(surplus)}`
  if (surplus.length > 0) return `surplus errors: ${surplus.join(' ')}`

  for (const place of wanted.bubbled.keys()) {
    if (!given.bubbled.has(place)) return `no error explains the null at ${place || 'the root'}`
  }
  for (const [place, errors] of given.bubbled) {
    if (!wanted.bubbled.has(place)) return `errors below an explained null: ${errors.join(' ')}`
    const untrue = errors.find((it) => !expected.possible.has(it))
    if (untrue)
      return `an error that cannot be: ${untrue}, possible: ${[...expected.possible].join(' ')}`
    if (new Set(errors).size < errors.length) return `an error twice: ${errors.join(' ')}`
  }
  return null
}

/** Errors by whether their own place is in the answer, or a null above it. */
function byPlace(errors: readonly GraphQLFormattedError[], data: unknown) {
  const exact: string[] = []
  const bubbled = new Map<string, string[]>()
  for (const error of errors) {
    const { path } = error
    const place = path ? reached(path, data) : null
    if (!path || !place || place.length === path.length) {
      exact.push(textOf(error))
      continue
    }
    const key = place.join('.')
    bubbled.set(key, [...(bubbled.get(key) ?? []), textOf(error)])
  }
  return { exact, bubbled }
}

/** As much of the path as there is in the data. */
function reached(path: Path, data: unknown): Path {
  let value = data
  for (const [index, key] of path.entries()) {
    if (typeof value !== 'object' || value === null) return path.slice(0, index)
    value = (value as Record<string | number, unknown>)[key]
  }
  return path
}

function without(all: readonly string[], some: readonly string[]): string[] {
  const rest = [...all]
  for (const it of some) {
    const index = rest.indexOf(it)
    if (index >= 0) rest.splice(index, 1)
  }
  return rest
}

function but(surplus: readonly string[]): string {
  return surplus.length > 0 ? `, got ${surplus.join(' ')}` : ''
}

function sortedText(text: string | undefined): string | undefined {
  return text === undefined ? undefined : JSON.stringify(sorted(JSON.parse(text)))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, it]) => [key, sorted(it)]),
  )
}
