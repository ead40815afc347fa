import { expect, test } from 'vitest'
import { parseTraceparent } from './trace.ts'

const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a well-formed trace context is passed on', () => {
  expect(parseTraceparent(good)).toBe(good)
})

test.each([
  undefined,
  '',
  good.toUpperCase(),
  good.replace('00-', 'ff-'),
  `${good}\r\nx: y`,
  `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
  `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`,
])('%j is dropped', (text) => {
  expect(parseTraceparent(text)).toBeNull()
})
