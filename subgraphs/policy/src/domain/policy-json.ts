import { DomainError } from '@berth/platform/errors'
import type { z } from 'zod'

const MAX_DEPTH = 8
const MAX_BYTES = 64 * 1_024

/**
 * Refuses what JSON can say and no policy may: what nests without end, is too large, is text that the
 * database cannot hold, or has a field that some readers would take for an object's prototype, and
 * others leave out without a word.
 *
 * @param path where the value stands in the request
 * @throws {DomainError} BAD_INPUT
 */
export function checkJson(path: string, value: unknown): void {
  checkNode(path, value, 0)
  if (Buffer.byteLength(JSON.stringify(value) ?? '') <= MAX_BYTES) return
  throw new DomainError('BAD_INPUT', `\`${path}\` is longer than ${MAX_BYTES} bytes`)
}

function checkNode(path: string, value: unknown, depth: number): void {
  if (typeof value === 'string' && !isStorable(value)) throw unstorable(path)
  if (typeof value !== 'object' || value === null) return
  if (depth === MAX_DEPTH) {
    throw new DomainError('BAD_INPUT', `\`${path}\` is nested too deeply`)
  }
  for (const [name, field] of Object.entries(value)) {
    if (name === '__proto__') {
      throw new DomainError('BAD_INPUT', `\`${path}\` has a field \`__proto__\`: leave it out`)
    }
    if (!isStorable(name)) throw unstorable(path)
    checkNode(`${path}.${name}`, field, depth + 1)
  }
}

/** Postgres holds neither NUL nor half a character. */
function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

function unstorable(path: string): DomainError {
  return new DomainError('BAD_INPUT', `\`${path}\` is no text: it has a NUL or half a character`)
}

const MAX_PROBLEMS = 5

/** What is wrong where, on one line. */
export function problemsOf(path: string, { issues }: z.ZodError): string {
  return issues
    .slice(0, MAX_PROBLEMS)
    .map((issue) => `\`${[path, ...issue.path.map(String)].join('.')}\`: ${issue.message}`)
    .join('; ')
}
