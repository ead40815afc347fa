import { createLru } from './lru.ts'

/** What a GraphQL answer may come as, the first where a client does not care. */
const TYPES = [
  'application/json; charset=utf-8',
  'application/graphql-response+json; charset=utf-8',
  // Only to choose as Apollo Server does: it is the first to whoever does not ask for it by name.
  'application/json; callbackSpec=1.0; charset=utf-8',
] as const
const [JSON_TYPE] = TYPES

export type AnswerType = (typeof TYPES)[number]

/** Few clients have few ways to say it. */
const chosen = createLru<string, { readonly type: AnswerType | null }>(256)

/**
 * The content type of an answer to who accepts these (RFC 9110, section 12.5.1), as Apollo Server
 * chooses it.
 *
 * @param accept the header; without it anything is
 * @returns null when there is none that is accepted
 */
export function answerType(accept: string | undefined): AnswerType | null {
  if (accept === undefined || accept === '' || accept === '*/*') return JSON_TYPE
  const known = chosen.get(accept)
  if (known) return known.type
  const type = choose(accept)
  if (accept.length <= 256) chosen.set(accept, { type })
  return type
}

type Range = {
  type: string
  subtype: string
  params: Map<string, string>
  q: number
  order: number
}

function choose(accept: string): AnswerType | null {
  const ranges = splitQuoted(accept, ',').flatMap(rangeOf)
  let best: { name: AnswerType; fit: Fit } | null = null
  for (const name of TYPES) {
    const fit = fitOf(name, ranges)
    if (fit && fit.q > 0 && (!best || isBetter(fit, best.fit))) best = { name, fit }
  }
  return best?.name ?? null
}

/** How well a type fits: by the most specific range that it is in. */
type Fit = { q: number; specificity: number; order: number }

function isBetter(a: Fit, b: Fit): boolean {
  return (b.q - a.q || b.specificity - a.specificity || a.order - b.order) < 0
}

function fitOf(name: AnswerType, ranges: readonly Range[]): Fit | null {
  const [own] = rangeOf(name, 0)
  let best: Fit | null = null
  for (const range of own ? ranges : []) {
    const specificity = specificityOf(own as Range, range)
    if (specificity === null) continue
    const { q, order } = range
    const isCloser =
      !best || (best.specificity - specificity || best.q - q || best.order - order) < 0
    if (isCloser) best = { q, specificity, order }
  }
  return best
}

function specificityOf(own: Range, range: Range): number | null {
  let specificity = 0
  if (range.type === own.type) specificity += 4
  else if (range.type !== '*') return null
  if (range.subtype === own.subtype) specificity += 2
  else if (range.subtype !== '*') return null
  for (const [key, value] of range.params) {
    if (value !== '*' && value.toLowerCase() !== (own.params.get(key) ?? '').toLowerCase()) {
      return null
    }
  }
  return specificity + (range.params.size > 0 ? 1 : 0)
}

function rangeOf(text: string, order: number): Range[] {
  const [full = '', ...rest] = splitQuoted(text, ';')
  const [type = '', subtype] = full.trim().toLowerCase().split('/', 2)
  if (type === '' || !subtype) return []
  const params = new Map<string, string>()
  for (const it of rest) {
    const at = it.indexOf('=')
    if (at < 0) continue
    const value = it.slice(at + 1).trim()
    params.set(it.slice(0, at).trim().toLowerCase(), value.replace(/^"(.*)"$/s, '$1'))
  }
  const q = params.has('q') ? Number.parseFloat(params.get('q') ?? '') : 1
  params.delete('q')
  return [{ type, subtype, params, q, order }]
}

function splitQuoted(text: string, separator: string): string[] {
  if (!text.includes('"')) return text.split(separator)
  const parts = ['']
  let isQuoted = false
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted
    if (character === separator && !isQuoted) parts.push('')
    else parts[parts.length - 1] += character
  }
  return parts
}
