import { createHash } from 'node:crypto'
import { DomainError, type ErrorCode, isExpected } from './errors.ts'

// What the port and the client of commands must agree on.

/** Header `typ` of the token that a command is signed with. */
export const COMMAND_TYP = 'command+jwt'

export const COMMAND_PATH = '/internal/commands/'

export const COMMAND_ID = /^[\x21-\x7e]{1,128}$/

/** Claim `bh`: the signature covers the body by its hash. */
export function bodyHash(body: string | Buffer): string {
  return createHash('sha256').update(body).digest('base64url')
}

/** For metrics: what is no expected failure counts as INTERNAL. */
export function codeOf(error: unknown): ErrorCode {
  return error instanceof DomainError && isExpected(error) ? error.code : 'INTERNAL'
}
