import { DomainError } from './errors.ts'

/** What a page of a list was asked for, checked. */
export type Page = {
  readonly first: number
  /** Rows to read: one more than asked for tells whether more follow. */
  readonly take: number
  /** The key of the row to go on after, as `cursorOf` gave it; null on the first page. */
  readonly after: string | null
}

export type Connection<Row> = {
  edges: { cursor: string; node: Row }[]
  nodes: Row[]
  pageInfo: {
    hasNextPage: boolean
    hasPreviousPage: boolean
    startCursor: string | null
    endCursor: string | null
  }
}

const MAX_FIRST = 100
const DEFAULT_FIRST = 50
const MAX_KEY = 300

/**
 * A Relay connection of rows read in the order of their keys.
 *
 * @param rows up to `first + 1` of them: the one too many is dropped
 * @param cursorOf a row's key, unique in the list; clients get it encoded, to hand back as `after`
 */
export function connection<Row>({
  rows,
  first,
  after = null,
  cursorOf,
}: {
  rows: readonly Row[]
  first: number
  after?: string | null
  cursorOf: (row: Row) => string
}): Connection<Row> {
  const nodes = rows.slice(0, first)
  const edges = nodes.map((node) => ({ cursor: encode(cursorOf(node)), node }))
  return {
    edges,
    nodes,
    pageInfo: {
      hasNextPage: rows.length > first,
      // The row that `after` names precedes this page.
      hasPreviousPage: after !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}

/** @throws {DomainError} BAD_INPUT when `first` is not 1 to 100 or `after` is no cursor. */
export function pageArguments({
  first,
  after,
}: {
  first?: number | null | undefined
  after?: string | null | undefined
}): Page {
  const count = first ?? DEFAULT_FIRST
  if (!Number.isInteger(count) || count < 1 || count > MAX_FIRST) {
    throw new DomainError('BAD_INPUT', `\`first\` is a whole number from 1 to ${MAX_FIRST}`)
  }
  return { first: count, take: count + 1, after: after == null ? null : decode(after) }
}

const PREFIX = 'k:'

function encode(key: string): string {
  return Buffer.from(PREFIX + key).toString('base64url')
}

/** What `encode` gave, and nothing else: other spellings of the same bytes are refused. */
function decode(cursor: string): string {
  const text = cursor.length <= MAX_KEY * 2 ? Buffer.from(cursor, 'base64url').toString() : ''
  const key = text.slice(PREFIX.length)
  if (!text.startsWith(PREFIX) || key === '' || key.includes('\0') || encode(key) !== cursor) {
    throw new DomainError('BAD_INPUT', '`after` is not a cursor of this list: leave it out')
  }
  return key
}
