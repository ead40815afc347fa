import { type Actor, requireOrganization } from '@berth/platform/actor'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { type Id, parseId } from '@berth/platform/ids'
import type { PolicyLevel } from '../domain/policy-keys.ts'
import { reaches } from '../domain/role.ts'
import { findMember } from '../store/memberships.ts'
import { hasOrganization, type PolicyScope } from '../store/policies.ts'
import { lockActing } from './acting.ts'
import { lockActingOperator } from './operators.ts'

/** A setting, as somebody names it. */
export type PolicyTarget = {
  readonly key: string
  readonly level: PolicyLevel
  /** One's own when it is left out. */
  readonly organizationId?: string | null | undefined
  readonly userId?: string | null | undefined
}

export type Setting = PolicyScope & { readonly key: string; readonly level: PolicyLevel }

/** @throws {DomainError} BAD_INPUT when it does not say whose it is, NOT_FOUND for another's */
export function targetOf(actor: Actor, { key, level, ...of }: PolicyTarget): Setting {
  const organizationId = of.organizationId == null ? null : parseId('org', of.organizationId)
  const userId = of.userId == null ? null : parseId('usr', of.userId)
  if ((userId === null) === (level === 'USER')) {
    throw new DomainError('BAD_INPUT', '`userId` says whose it is at USER, and at no other level')
  }
  if (level === 'PLATFORM' || level === 'GRANT') {
    if ((organizationId === null) === (level === 'PLATFORM'))
      return { key, level, organizationId, userId }
    throw new DomainError(
      'BAD_INPUT',
      '`organizationId` says whom a grant is for; at PLATFORM it is left out',
    )
  }
  const own = requireOrganization(actor)
  if (organizationId !== null && organizationId !== own) throw noOrganization(organizationId)
  return { key, level, organizationId: own, userId }
}

/**
 * Whoever acts may still, and it is somebody's: both until the transaction ends.
 *
 * @throws {DomainError} as `lockActing`; NOT_FOUND for an organization or a member that is not there,
 *   FORBIDDEN for a member above the one who acts
 */
export async function lockWhose(
  sql: Sql,
  actor: Actor,
  { level, organizationId, userId }: Setting,
): Promise<void> {
  if (level === 'PLATFORM' || level === 'GRANT') {
    await lockActingOperator(sql, actor)
    if (organizationId === null || (await hasOrganization(sql, organizationId))) return
    throw noOrganization(organizationId)
  }
  const acting = await lockActing(sql, actor)
  if (userId === null) return
  const member = await findMember(sql, acting.organizationId, { userId })
  if (!member) throw noMember(userId)
  if (reaches(acting.role, member.role)) return
  throw new DomainError('FORBIDDEN', `Ask an owner: ${member.role} is above your own role`)
}

/** The same for one that is not there and one that is not to be seen. */
export function noOrganization(id: Id<'org'>): DomainError {
  return new DomainError('NOT_FOUND', `You see no organization ${id}`)
}

export function noMember(id: Id<'usr'>): DomainError {
  return new DomainError('NOT_FOUND', `The organization has no member ${id}`)
}
