import { DomainError } from '@berth/platform/errors'

const PRINTABLE = /^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u

/** A name for people. @throws {DomainError} BAD_INPUT unless it has 1 to 80 printable characters */
export function checkName(text: string): string {
  const name = text.trim()
  if (name !== '' && isPrintable(name, 80)) return name
  throw new DomainError('BAD_INPUT', '`name` has 1 to 80 characters, and no line breaks')
}

/**
 * Text that may be left out: null where it is, or is empty.
 *
 * @throws {DomainError} BAD_INPUT when it is longer, or has line breaks
 */
export function checkText(
  field: string,
  text: string | null | undefined,
  maxCharacters: number,
): string | null {
  const trimmed = text?.trim() ?? ''
  if (trimmed === '') return null
  if (isPrintable(trimmed, maxCharacters)) return trimmed
  throw new DomainError(
    'BAD_INPUT',
    `\`${field}\` has at most ${maxCharacters} characters, and no line breaks`,
  )
}

/** Why somebody did something, for the audit. @throws {DomainError} BAD_INPUT as `checkText` */
export function checkReason(text: string | null | undefined): string | null {
  return checkText('reason', text, 500)
}

/** @throws {DomainError} BAD_INPUT unless it is a whole number within the bounds */
export function checkWhole(field: string, value: number, from: number, to: number): number {
  if (Number.isInteger(value) && value >= from && value <= to) return value
  throw new DomainError('BAD_INPUT', `\`${field}\` is a whole number from ${from} to ${to}`)
}

function isPrintable(text: string, maxCharacters: number): boolean {
  return (
    text.length <= maxCharacters * 2 && [...text].length <= maxCharacters && PRINTABLE.test(text)
  )
}
