import {
  GraphQLBoolean,
  GraphQLFloat,
  GraphQLID,
  GraphQLInt,
  type GraphQLLeafType,
  type GraphQLOutputType,
  GraphQLString,
  isEnumType,
  isListType,
  isNonNullType,
} from 'graphql'
import { compileLeaf, type WriteLeaf } from './values.ts'

/** One answer of a subgraph while it is scanned: its bytes, which are UTF-8. */
export type Scanned = {
  readonly bytes: Uint8Array
  /** A character for each byte: what is cut out of it stays bytes. */
  readonly text: string
  /** What the last scan found; see `Scan`. */
  found: unknown
}

/**
 * Reads one value, from where it begins to behind its end. `WRONG` unless its text is, byte by byte,
 * what the writer of answers would write for it (`compileShape`): then the text itself may be sent.
 * One of an object that is taken apart leaves what it found in `found`.
 */
export type Scan = (of: Scanned, at: number) => number

/** It is not as it should be, or not written as we write it. Nothing is told of which. */
export const WRONG = -1

const TAB = 0x09
const LINE = 0x0a
const RETURN = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const OPEN_LIST = 0x5b
const BACKSLASH = 0x5c
const CLOSE_LIST = 0x5d
const CLOSE = 0x7d

/**
 * @param named of the type that lists and non-nulls are of
 * @param isTaken whether that finds something: in lists and nulls it is found as such
 */
export function scanOf(type: GraphQLOutputType, named: Scan, isTaken: boolean): Scan {
  if (isNonNullType(type)) return present(type.ofType, named, isTaken)
  const scan = present(type, named, isTaken)
  return (of, at) => {
    if (of.bytes[at] !== NULL[0]) return scan(of, at)
    if (isTaken) of.found = null
    return matches(of.bytes, at, NULL) ? at + NULL.length : WRONG
  }
}

function present(type: GraphQLOutputType, named: Scan, isTaken: boolean): Scan {
  if (!isListType(type)) return named
  const items = itemsOf(scanOf(type.ofType, named, isTaken))
  return isTaken ? items.taken : items.passed
}

function itemsOf(item: Scan): { passed: Scan; taken: Scan } {
  return {
    passed: (of, from) => list(of, from, null),
    taken(of, from) {
      const found: unknown[] = []
      const at = list(of, from, found)
      of.found = found
      return at
    },
  }

  function list(of: Scanned, from: number, found: unknown[] | null): number {
    const { bytes } = of
    if (bytes[from] !== OPEN_LIST) return WRONG
    let at = from + 1
    if (bytes[at] === CLOSE_LIST) return at + 1
    for (;;) {
      at = item(of, at)
      if (at === WRONG) return WRONG
      found?.push(of.found)
      const byte = bytes[at++]
      if (byte === CLOSE_LIST) return at
      if (byte !== COMMA) return WRONG
    }
  }
}

export type Member = { readonly before: Uint8Array; readonly scan: Scan }

/** What stands before the value of an object's member, the object's beginning included. */
export function beforeMember(index: number, key: string): Uint8Array {
  return Buffer.from(`${index === 0 ? '{' : ','}${JSON.stringify(key)}:`)
}

/** Exactly these members, in this order. */
export function objectOf(members: readonly Member[]): Scan {
  return (of, from) => {
    const { bytes } = of
    let at = from
    for (let i = 0; i < members.length; i++) {
      const { before, scan } = members[i] as Member
      if (!matches(bytes, at, before)) return WRONG
      at = scan(of, at + before.length)
      if (at === WRONG) return WRONG
    }
    return endOfObject(bytes, at)
  }
}

export function endOfObject(bytes: Uint8Array, at: number): number {
  return bytes[at] === CLOSE ? at + 1 : WRONG
}

export function matches(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return false
  return true
}

/** Whether nothing follows: servers end a text with a line. */
export function isEnd(bytes: Uint8Array, from: number): boolean {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte !== LINE && byte !== SPACE && byte !== RETURN && byte !== TAB) return false
  }
  return true
}

/** This text and no other. */
export function exactly(text: string): Scan {
  const expected = Buffer.from(text)
  return (of, at) => (matches(of.bytes, at, expected) ? at + expected.length : WRONG)
}

export function scanLeaf(type: GraphQLLeafType): Scan {
  if (isEnumType(type)) return oneOf(type.getValues().map(({ name }) => `"${name}"`))
  switch (type.name) {
    case GraphQLString.name:
    case GraphQLID.name:
      return string
    case GraphQLInt.name:
      return integer
    case GraphQLFloat.name:
      return number
    case GraphQLBoolean.name:
      return oneOf(['true', 'false'])
    default:
      return stringOrScalar(compileLeaf(type))
  }
}

function oneOf(texts: readonly string[]): Scan {
  const all = texts.map((it) => Buffer.from(it))
  return (of, at) => {
    for (let i = 0; i < all.length; i++) {
      const text = all[i] as Uint8Array
      if (matches(of.bytes, at, text)) return at + text.length
    }
    return WRONG
  }
}

/** With no escapes but those that JSON.stringify writes; those by number are left to it. */
const string: Scan = ({ bytes }, from) => {
  if (bytes[from] !== QUOTE) return WRONG
  for (let at = from + 1; at < bytes.length; at++) {
    const byte = bytes[at] as number
    if (byte === QUOTE) return at + 1
    if (byte === BACKSLASH) {
      if (IS_ESCAPE[bytes[++at] ?? 0] !== 1) return WRONG
    } else if (byte < SPACE) return WRONG
  }
  return WRONG
}

const IS_ESCAPE = new Uint8Array(256)
for (const byte of Buffer.from('"\\bfnrt')) IS_ESCAPE[byte] = 1

const integer: Scan = ({ bytes }, from) => {
  const isNegative = bytes[from] === MINUS
  const first = isNegative ? from + 1 : from
  let at = first
  let value = 0
  for (; isDigit(bytes[at]); at++) value = value * 10 + (bytes[at] as number) - ZERO
  const digits = at - first
  if (digits === 0 || digits > 10) return WRONG
  if (bytes[first] === ZERO && (digits > 1 || isNegative)) return WRONG
  return value <= (isNegative ? MAX_INT + 1 : MAX_INT) ? at : WRONG
}

const MAX_INT = 2_147_483_647

/** Decimals of so many digits are told apart by a double, and are the shortest text for it. */
const EXACT_DIGITS = 15
const writeFloat = compileLeaf(GraphQLFloat)

const number: Scan = (of, from) => {
  const { bytes } = of
  const first = bytes[from] === MINUS ? from + 1 : from
  let at = first
  while (isDigit(bytes[at])) at++
  if (bytes[at] === POINT) {
    at++
    while (isDigit(bytes[at])) at++
    if (bytes[at - 1] === ZERO) return WRONG
  }
  const isPlain =
    (bytes[first] as number) > ZERO &&
    isDigit(bytes[first]) &&
    isDigit(bytes[at - 1]) &&
    at - first <= EXACT_DIGITS
  return isPlain && isAfterValue(bytes[at]) ? at : scalar(of, from, writeFloat)
}

function stringOrScalar(write: WriteLeaf): Scan {
  return (of, at) => (of.bytes[at] === QUOTE ? string(of, at) : scalar(of, at, write))
}

/** A number, true or false, if that is how the value is written. */
function scalar({ bytes, text }: Scanned, from: number, write: WriteLeaf): number {
  let at = from
  while (at < bytes.length && !isAfterValue(bytes[at])) at++
  const found = text.slice(from, at)
  if (found === 'true' || found === 'false') return writes(write, found === 'true', found, at)
  const value = Number(found)
  if (!Number.isFinite(value) || String(value) !== found) return WRONG
  return writes(write, value, found, at)
}

function writes(write: WriteLeaf, value: unknown, text: string, end: number): number {
  try {
    return write(value) === text ? end : WRONG
  } catch {
    return WRONG
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE
}

function isAfterValue(byte: number | undefined): boolean {
  return byte === COMMA || byte === CLOSE || byte === CLOSE_LIST
}

const NULL = Buffer.from('null')
