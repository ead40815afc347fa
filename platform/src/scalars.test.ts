import { expect, test } from 'vitest'
import { DateTime, Decimal } from './scalars.ts'

test('a DateTime is a date inside and UTC outside', () => {
  expect(DateTime.parseValue('2026-01-31T13:00:00+01:00')).toEqual(new Date('2026-01-31T12:00:00Z'))
  expect(DateTime.serialize(new Date('2026-01-31T12:00:00Z'))).toBe('2026-01-31T12:00:00.000Z')
})

test.each([
  '2026-02-30T00:00:00Z',
  '2026-13-01T00:00:00Z',
  '2026-01-01T25:00:00Z',
  '2026-01-01',
  '2026-01-01T00:00:00',
  'yesterday',
  0,
  null,
])('%j is no DateTime', (value) => {
  expect(() => DateTime.parseValue(value)).toThrow(/RFC 3339/)
})

test('a resolver that gives no date or a float for a decimal is a bug, not a client’s mistake', () => {
  expect(() => DateTime.serialize(new Date('no date'))).toThrow(TypeError)
  expect(() => DateTime.serialize(1)).toThrow(TypeError)
  expect(() => Decimal.serialize(1.5)).toThrow(TypeError)
})

test.each([1.5, 1, '1e3', '', '1.', '.1', '0x1', ' 1', null])('%j is no Decimal', (value) => {
  expect(() => Decimal.parseValue(value)).toThrow(/Decimal is text/)
})

test('a Decimal keeps every digit', () => {
  expect(Decimal.parseValue('-12345678901234567890.123456')).toBe('-12345678901234567890.123456')
})
