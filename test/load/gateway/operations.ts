import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { LoadRequest, NextRequest } from '../load.ts'
import { createRandom } from '../load.ts'
import { ENTITIES, offerOf, opinionsOf, supplyOf } from './data.ts'

export type Operation = {
  readonly name: 'entities' | 'single'
  readonly title: string
  readonly text: string
  /** SHA-256 of the text: what a trusted document is asked for by. */
  readonly hash: string
  readonly first: number
  readonly dataOf: (first: number, after: number) => unknown
}

const OFFER = 'id name kind tags price maker { name country }'

/** 50 entities of one subgraph, with fields of two others. */
export const entities = operation({
  name: 'entities',
  title: '50 entities of three subgraphs',
  text: `query Entities($first: Int!, $after: Int!) { offers(first: $first, after: $after) { ${OFFER} free site { city bay } rating reviews { stars text } } }`,
  first: 50,
  dataOf: (first, after) => ({
    offers: numbers(first, after).map((n) => ({ ...offerOf(n), ...supplyOf(n), ...opinionsOf(n) })),
  }),
})

/** 20 objects of one subgraph. */
export const single = operation({
  name: 'single',
  title: '20 objects, one fetch',
  text: `query Single($first: Int!, $after: Int!) { offers(first: $first, after: $after) { ${OFFER} } }`,
  first: 20,
  dataOf: (first, after) => ({ offers: numbers(first, after).map(offerOf) }),
})

export const operations = [entities, single] as const

/** How a contestant is asked for an operation: by its whole text, or by the hash of a trusted one. */
export type Face = 'text' | 'trusted'

/** Requests of many people with ever other variables. @param tokens of the people */
export function requestsOf(
  operation: Operation,
  face: Face,
  tokens: readonly string[],
): NextRequest {
  const asked =
    face === 'text'
      ? `"query":${JSON.stringify(operation.text)}`
      : `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"${operation.hash}"}}`
  const headers = headersOf(tokens)
  const random = createRandom(7)
  let sent = 0
  return () => {
    const after = Math.floor(random() * ENTITIES)
    return {
      headers: headers[sent++ % headers.length] ?? {},
      body: `{${asked},"variables":{"first":${operation.first},"after":${after}}}`,
      isRight: (text) => isAnswer(text, operation.dataOf(operation.first, after)),
    }
  }
}

/** Operations that differ in their text, each seen once. */
export function distinctOperations(tokens: readonly string[]): NextRequest {
  const headers = headersOf(tokens)
  let sent = 0
  return () => {
    const n = sent++
    const text = `query Distinct${n} { offers(first: 2, after: ${n}) { id name${n}: name price } }`
    const offers = numbers(2, n).map(offerOf)
    const data = {
      offers: offers.map(({ id, name, price }) => ({ id, [`name${n}`]: name, price })),
    }
    return {
      headers: headers[n % headers.length] ?? {},
      body: JSON.stringify({ query: text }),
      isRight: (answer) => isAnswer(answer, data),
    }
  }
}

/** @throws {Error} with both answers unless the contestant's is the expected one */
export function assertRight(who: string, request: LoadRequest, status: number, text: string): void {
  if (status === 200 && request.isRight(text)) return
  throw new Error(`${who} answered wrong (${status}) to ${request.body}:\n${text.slice(0, 2000)}`)
}

function operation(of: Omit<Operation, 'hash'>): Operation {
  return { ...of, hash: createHash('sha256').update(of.text).digest('hex') }
}

function numbers(first: number, after: number): number[] {
  return Array.from({ length: first }, (_, index) => after + index + 1)
}

function headersOf(tokens: readonly string[]) {
  return tokens.map((token) => ({
    'content-type': 'application/json',
    accept: 'application/json',
    authorization: `Bearer ${token}`,
  }))
}

function isAnswer(text: string, data: unknown): boolean {
  const answer: unknown = JSON.parse(text)
  return isDeepStrictEqual(answer, { data })
}
