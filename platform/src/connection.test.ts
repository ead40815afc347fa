import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { connection, pageArguments } from './connection.ts'

const cursorOf = (row: string) => row

/** As a store reads: the rows after the key, one more than asked for. */
function read(rows: readonly string[], first: number, after: string | null | undefined) {
  const page = pageArguments({ first, after })
  const start = page.after === null ? 0 : rows.indexOf(page.after) + 1
  return connection({ ...page, rows: rows.slice(start, start + page.take), cursorOf })
}

describe('a connection', () => {
  test('walked page by page gives every row once and in order, whatever the page size', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }), {
          maxLength: 30,
        }),
        fc.integer({ min: 1, max: 7 }),
        (rows, first) => {
          const seen: string[] = []
          let after: string | null = null
          do {
            const page = read(rows, first, after)
            expect(page.edges.map((it) => it.node)).toEqual(page.nodes)
            expect(page.pageInfo.hasPreviousPage).toBe(after !== null)
            seen.push(...page.nodes)
            after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
          } while (after !== null)
          expect(seen).toEqual(rows)
        },
      ),
    )
  })

  test('without rows has no cursors and no further page', () => {
    expect(read([], 10, null).pageInfo).toEqual({
      hasNextPage: false,
      hasPreviousPage: false,
      startCursor: null,
      endCursor: null,
    })
  })

  test('does not show the row that only tells whether more follow', () => {
    const page = read(['a', 'b', 'c'], 2, null)
    expect(page.nodes).toEqual(['a', 'b'])
    expect(page.edges).toHaveLength(2)
  })
})

describe('page arguments', () => {
  test.each([0, -1, 101, 1.5, Number.NaN])('first %s is refused', (first) => {
    expect(() => pageArguments({ first })).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  })

  test.each(['', 'x', 'a b', 'azo', 'azo=', 'YWJj', 'a'.repeat(10_000)])(
    'the cursor %j, which no list gave, is refused',
    (after) => {
      expect(() => pageArguments({ after })).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
    },
  )

  test('null is the same as absent', () => {
    expect(pageArguments({ first: null, after: null })).toEqual({
      first: 50,
      take: 51,
      after: null,
    })
  })
})
