import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { beyondRetention, createCursors } from './cursor.ts'
import { DomainError } from './errors.ts'

const cursors = createCursors(randomBytes(32))
const scope = { stream: 'allocations.allocation', owner: 'org_1' }

function refuses(text: string, within = scope, by = cursors) {
  try {
    by.decode(text, within)
  } catch (error) {
    return error instanceof DomainError && error.code === 'BAD_INPUT'
  }
  return false
}

test('every position comes back, and nowhere else', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), (position) => {
      const cursor = cursors.encode({ ...scope, position })
      expect(cursors.decode(cursor, scope)).toBe(position)
      expect(refuses(cursor, { ...scope, owner: 'org_2' })).toBe(true)
      expect(refuses(cursor, { ...scope, stream: 'billing.ledger' })).toBe(true)
      expect(refuses(cursor, scope, createCursors(randomBytes(32)))).toBe(true)
    }),
  )
})

test('no two scopes share a cursor by the way their names are joined', () => {
  const cursor = cursors.encode({ stream: 'ab', owner: 'c', position: 1n })
  expect(refuses(cursor, { stream: 'a', owner: 'bc' })).toBe(true)
})

test('every changed bit is refused', () => {
  const bytes = Buffer.from(cursors.encode({ ...scope, position: 77n }), 'base64url')
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const changed = Buffer.from(bytes)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    expect(refuses(changed.toString('base64url')), `bit ${bit}`).toBe(true)
  }
})

test('what is no cursor is refused, whatever it is', () => {
  fc.assert(fc.property(fc.string(), (text) => refuses(text)))
  const cursor = cursors.encode({ ...scope, position: 1n })
  for (const text of [`${cursor} `, `${cursor}=`, cursor.slice(1), `${cursor}A`, '']) {
    expect(refuses(text), text).toBe(true)
  }
})

test('a cursor does not tell how many events there are', () => {
  const position = 123_456_789n
  const bytes = Buffer.from(cursors.encode({ ...scope, position }), 'base64url')
  const plain = Buffer.alloc(8)
  plain.writeBigUInt64BE(position)
  expect(bytes.includes(plain)).toBe(false)
  const next = Buffer.from(cursors.encode({ ...scope, position: position + 1n }), 'base64url')
  expect(next.subarray(-8, -1)).not.toEqual(bytes.subarray(-8, -1))
})

test('a key of too few bytes is refused', () => {
  expect(() => createCursors(randomBytes(31))).toThrow(RangeError)
})

test('a cursor beyond retention is its own error', () => {
  expect(beyondRetention()).toMatchObject({ code: 'STREAM_RESET' })
})
