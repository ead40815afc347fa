import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import type { Principal } from '../model.ts'

export type ResolvedActor = {
  userId: Id<'usr'>
  organizationId: Id<'org'> | null
  roles: string[]
}

/**
 * What a person may be in the organization asked for, or in their oldest one that is not suspended:
 * their role there in lower case, and their roles of the platform as `platform:<role>`.
 *
 * @throws {DomainError} FORBIDDEN when they do not belong to the organization asked for, or it is
 * suspended; NOT_FOUND when they are themselves: to whoever asks they are nobody
 */
export function actorOf(principal: Principal, asked: Id<'org'> | null): ResolvedActor {
  const { userId, memberships, platformRoles } = principal
  if (principal.isSuspended) throw new DomainError('NOT_FOUND', 'This person is suspended')
  const membership = asked
    ? memberships.find(({ organizationId }) => organizationId === asked)
    : memberships.find(({ isSuspended }) => !isSuspended)
  if (asked && !membership) {
    throw new DomainError(
      'FORBIDDEN',
      'You do not belong to this organization: choose one of yours',
    )
  }
  if (membership?.isSuspended) {
    throw new DomainError('FORBIDDEN', 'This organization is suspended: contact support', {
      suspended: true,
    })
  }
  return {
    userId,
    organizationId: membership?.organizationId ?? null,
    roles: [
      ...(membership ? [membership.role.toLowerCase()] : []),
      ...platformRoles.map((role) => `platform:${role}`),
    ],
  }
}
