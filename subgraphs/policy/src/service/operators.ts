import { type Actor, requirePerson } from '@berth/platform/actor'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import { checkReason } from '../domain/input.ts'
import { isOperator, lockOperators } from '../store/standing.ts'

/**
 * The operator who acts, as of now; until the transaction ends no other one keeps anybody out.
 *
 * @throws {DomainError} FORBIDDEN for a key, and for who is no operator any more
 */
export async function lockActingOperator(sql: Sql, actor: Actor): Promise<Id<'usr'>> {
  const userId = requirePerson(actor)
  await lockOperators(sql)
  if (await isOperator(sql, userId)) return userId
  throw new DomainError('FORBIDDEN', 'You do not run this platform any more')
}

/** @throws {DomainError} BAD_INPUT when it is missing, too long, or has line breaks */
export function requireReason(text: string): string {
  const reason = checkReason(text)
  if (reason !== null) return reason
  throw new DomainError('BAD_INPUT', '`reason` says why, for the audit: up to 500 characters')
}
