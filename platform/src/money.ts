import { DomainError } from './errors.ts'

/** Micro-units of a currency: 1 USD = 1_000_000n. Money is never a `number`. */
export type Micros = bigint

/** As GraphQL shows it. */
export type Money = { amount: string; currency: string }

export function toMoney(micros: Micros, currency: string): Money {
  return { amount: formatAmount(micros), currency }
}

/** Exact decimal text with two to six digits after the point: `1.50`, `0.000001`, `-3.00`. */
export function formatAmount(micros: Micros): string {
  const digits = (micros < 0n ? -micros : micros).toString().padStart(7, '0')
  const fraction = digits.slice(-6).replace(/0{1,4}$/, '')
  return `${micros < 0n ? '-' : ''}${digits.slice(0, -6)}.${fraction}`
}

/**
 * Exact: nothing is rounded, so a seventh digit after the point is refused.
 *
 * @throws {DomainError} BAD_INPUT when the text is no decimal of at most 12 digits before and 6
 * after the point; such an amount always fits a bigint column.
 */
export function parseAmount(text: string): Micros {
  const match = /^(-?)(\d{1,12})(?:\.(\d{1,6}))?$/.exec(text)
  if (!match) {
    throw new DomainError('BAD_INPUT', 'An amount is a decimal such as "12.50", up to 6 decimals')
  }
  const [, sign, whole = '', fraction = ''] = match
  const micros = BigInt(whole) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))
  return sign ? -micros : micros
}
