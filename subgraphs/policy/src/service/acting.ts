import { type Actor, createActor, requireOrganization, requirePerson } from '@berth/platform/actor'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import type { Membership } from '../model.ts'
import { findMember, lockOrganization } from '../store/memberships.ts'

/**
 * The member who acts, as of now: the organization is locked, so that until the transaction ends
 * nobody else changes who belongs to it.
 *
 * @throws {DomainError} FORBIDDEN for a key, and for who is no member any more; CONFLICT when their
 *   role is another one by now than that which they asked with
 */
export async function lockActing(sql: Sql, actor: Actor): Promise<Membership> {
  const userId = requirePerson(actor)
  const organizationId = requireOrganization(actor)
  await lockOrganization(sql, organizationId)
  const own = await findMember(sql, organizationId, { userId })
  if (!own) throw new DomainError('FORBIDDEN', 'You do not belong to this organization any more')
  if (!actor.roles.includes(own.role.toLowerCase())) {
    throw new DomainError('CONFLICT', 'Your role here has just been changed: ask again')
  }
  return own
}

/** A person in another organization than they ask from: its audit names none of their others. */
export function actingIn(actor: Actor, organizationId: Id<'org'>): Actor {
  const { kind, credential } = actor
  return createActor({ kind, subject: requirePerson(actor), organizationId, credential })
}
