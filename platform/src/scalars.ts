import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from 'graphql'

/** RFC 3339 in, `Date` inside, UTC with milliseconds out. */
export const DateTime = new GraphQLScalarType<Date, string>({
  name: 'DateTime',
  description: 'A moment in UTC, as 2026-01-31T12:00:00.000Z.',
  serialize(value) {
    const date = typeof value === 'string' ? parseDateTime(value) : value
    if (!(date instanceof Date) || Number.isNaN(date.getTime())) {
      throw new TypeError('a DateTime field was resolved to no date')
    }
    return date.toISOString()
  },
  parseValue: parseDateTime,
  parseLiteral: (node) => parseDateTime(textOf(node)),
})

/** Exact decimal text, never a float. */
export const Decimal = new GraphQLScalarType<string, string>({
  name: 'Decimal',
  description: 'An exact decimal number as text, such as "12.50".',
  serialize(value) {
    if (typeof value !== 'string' || !DECIMAL.test(value)) {
      throw new TypeError('a Decimal field was resolved to no decimal text')
    }
    return value
  },
  parseValue: parseDecimal,
  parseLiteral: (node) => parseDecimal(textOf(node)),
})

const DECIMAL = /^-?\d{1,38}(\.\d{1,18})?$/
const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/

function parseDateTime(value: unknown): Date {
  const match = typeof value === 'string' ? RFC_3339.exec(value) : null
  const date = match ? new Date(value as string) : null
  // `Date` turns 30 February into 2 March without a word.
  const isReal = match && Number(match[3]) <= daysIn(Number(match[1]), Number(match[2]))
  if (!date || Number.isNaN(date.getTime()) || !isReal) {
    throw new GraphQLError('A DateTime is RFC 3339 text such as "2026-01-31T12:00:00Z"')
  }
  return date
}

function daysIn(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate()
}

function parseDecimal(value: unknown): string {
  if (typeof value !== 'string' || !DECIMAL.test(value)) {
    throw new GraphQLError('A Decimal is text such as "12.50"')
  }
  return value
}

function textOf(node: ValueNode): string | undefined {
  return node.kind === Kind.STRING ? node.value : undefined
}
