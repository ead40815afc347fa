import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DomainError } from './errors.ts'
import { formatAmount, parseAmount, toMoney } from './money.ts'

test('text and micro-units are two spellings of one amount', () => {
  const amounts = fc.bigInt({ min: -(10n ** 18n) + 1n, max: 10n ** 18n - 1n })
  fc.assert(
    fc.property(amounts, (micros) => {
      const text = formatAmount(micros)
      expect(text).toMatch(/^-?\d+\.\d{2,6}$/)
      expect(parseAmount(text)).toBe(micros)
    }),
  )
})

test.each([
  [0n, '0.00'],
  [1n, '0.000001'],
  [-1n, '-0.000001'],
  [1_500_000n, '1.50'],
  [1_230_000n, '1.23'],
  [1_234_500n, '1.2345'],
  [-3_000_000n, '-3.00'],
  [100_000_000n, '100.00'],
])('%s micro-units are written %s', (micros, text) => {
  expect(formatAmount(micros)).toBe(text)
})

test.each([
  '',
  '.5',
  '1.',
  '1,5',
  '1e3',
  ' 1',
  '1\n',
  '+1',
  '--1',
  '0x1',
  '١',
  'NaN',
  '1.0000001',
  '1'.repeat(13),
])('%j is refused rather than rounded or guessed', (text) => {
  expect(() => parseAmount(text)).toThrow(DomainError)
})

test('an amount and its currency make money', () => {
  expect(toMoney(12_500_000n, 'USD')).toEqual({ amount: '12.50', currency: 'USD' })
})
