import { type Actor, requireOrganization, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, idToUuid, newId, parseId } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import type { PolicyClient } from '@berth/platform/policy-client'
import {
  membershipChanged,
  membershipRemoved,
  type OrganizationRole,
} from '@berth/schema/events/policy'
import type { PolicyDatabase } from '../database.ts'
import { checkName, checkReason } from '../domain/input.ts'
import { isLowered, reaches } from '../domain/role.ts'
import type { Membership, Organization } from '../model.ts'
import { pendingOf } from '../store/invitations.ts'
import * as store from '../store/memberships.ts'
import { actingIn, lockActing } from './acting.ts'
import { createOrganization } from './create-organization.ts'
import { revoke as revokeInvitation } from './invitations.ts'
import { readQuota } from './quotas.ts'

/** Who belongs to an organization, and as what. */
export type Memberships = {
  /** @throws {DomainError} BAD_INPUT for a bad name, QUOTA_EXCEEDED when the person owns too many */
  createOrganization(
    asked: Keyed,
    input: { name: string },
  ): Promise<{ organization: Organization; membership: Membership }>
  /**
   * @throws {DomainError} NOT_FOUND when it is no membership of the organization, FORBIDDEN when it or
   *   the role is above the one who asks, CONFLICT for the last owner
   */
  setRole(
    asked: Keyed,
    input: { id: string; role: OrganizationRole; reason?: string | null | undefined },
  ): Promise<Membership>
  /**
   * Removes another one, or oneself.
   *
   * @throws {DomainError} as `setRole`, and FORBIDDEN for another one without `organization:manage`
   */
  remove(
    asked: Keyed,
    input: { id: string; reason?: string | null | undefined },
  ): Promise<Id<'mem'>>
}

export function createMemberships({
  database,
  policy,
  clock,
}: {
  database: PolicyDatabase
  policy: Pick<PolicyClient, 'can'>
  clock: Clock
}): Memberships {
  return {
    async createOrganization(asked, input) {
      const { actor } = asked
      const userId = requirePerson(actor)
      const name = checkName(input.name)
      const made = await database.sqlTransaction((sql) =>
        idempotent(sql, asked, 'organizationCreate', { name }, async () => {
          await store.lockUser(sql, userId)
          const owned = await store.countOwned(sql, userId)
          const most = await readQuota(sql, 'quota.organizations', null)
          if (owned >= most) {
            throw new DomainError(
              'QUOTA_EXCEEDED',
              `You own ${owned} organizations, of ${most} that you may: give one to another owner and leave it first`,
            )
          }
          const id = newId('org')
          const membership = { id: newId('mem'), userId, role: 'OWNER' as const }
          await createOrganization(sql, actingIn(actor, id), { id, name, members: [membership] })
          return { id, membershipId: membership.id }
        }),
      )
      const { id, membershipId } = made
      const row = await database.prisma.organization.findUniqueOrThrow({
        where: { id: idToUuid(id) },
      })
      return {
        organization: { id, name: row.name, createdAt: row.createdAt },
        membership: { id: membershipId, organizationId: id, userId, role: 'OWNER' },
      }
    },

    async setRole(asked, { role, ...input }) {
      const { actor } = asked
      const id = parseId('mem', input.id)
      const reason = checkReason(input.reason)
      return database.sqlTransaction((sql) =>
        idempotent(sql, asked, 'membershipSetRole', { id, role, reason }, async () => {
          const acting = await lockActing(sql, actor)
          const member = await found(sql, acting.organizationId, id)
          requireReach(acting, member.role)
          requireReach(acting, role)
          if (member.role === role) return member
          if (member.role === 'OWNER') await requireAnotherOwner(sql, member)
          const aggregateSeq = await store.updateRole(sql, member, role)
          const { userId } = member
          const organizationId = idToUuid(member.organizationId)
          await appendEvent(sql, membershipChanged, {
            aggregateId: idToUuid(id),
            aggregateSeq,
            organizationId,
            data: { userId, role },
          })
          await appendAudit(sql, {
            organizationId,
            actor,
            action: 'membership.setRole',
            target: id,
            ...(reason === null ? {} : { reason }),
            facts: { userId },
            before: { role: member.role },
            after: { role },
          })
          if (isLowered(member.role, role)) await revokeInvitationsOf(sql, actor, member)
          return { ...member, role }
        }),
      )
    },

    async remove(asked, input) {
      const { actor } = asked
      const id = parseId('mem', input.id)
      const reason = checkReason(input.reason)
      requirePerson(actor)
      requireOrganization(actor)
      // Before the transaction: it may ask the database by another connection.
      const isManager = await policy.can(actor, 'organization:manage')
      const removed = await database.sqlTransaction((sql) =>
        idempotent(sql, asked, 'membershipRemove', { id, reason }, async () => {
          const acting = await lockActing(sql, actor)
          // Whether there is such a member is for those who may see the members.
          if (id !== acting.id && !isManager) {
            throw new DomainError(
              'FORBIDDEN',
              'You may remove yourself alone: this needs the permission organization:manage',
            )
          }
          const member = await found(sql, acting.organizationId, id)
          requireReach(acting, member.role)
          if (member.role === 'OWNER') await requireAnotherOwner(sql, member)
          await revokeInvitationsOf(sql, actor, member)
          const aggregateSeq = await store.deleteMember(sql, member)
          const { userId } = member
          const organizationId = idToUuid(member.organizationId)
          await appendEvent(sql, membershipRemoved, {
            aggregateId: idToUuid(id),
            aggregateSeq,
            organizationId,
            data: { userId },
          })
          await appendAudit(sql, {
            organizationId,
            actor,
            action: 'membership.remove',
            target: id,
            ...(reason === null ? {} : { reason }),
            facts: { userId },
            before: { role: member.role },
          })
          return { id }
        }),
      )
      return removed.id
    },
  }

  /** What somebody was let invite to they must not keep as a way back. */
  async function revokeInvitationsOf(sql: Sql, actor: Actor, member: Membership): Promise<void> {
    const now = clock.now()
    for (const it of await pendingOf(sql, member.organizationId, member.userId, now)) {
      await revokeInvitation(sql, actor, it, now, 'whoever invited has lost the role that they had')
    }
  }
}

async function found(sql: Sql, organizationId: Id<'org'>, id: Id<'mem'>): Promise<Membership> {
  const member = await store.findMember(sql, organizationId, { id })
  if (member) return member
  throw new DomainError('NOT_FOUND', `Your organization has no member ${id}`)
}

function requireReach(acting: Membership, role: OrganizationRole): void {
  if (reaches(acting.role, role)) return
  throw new DomainError('FORBIDDEN', `Ask an owner: ${role} is above your own role, ${acting.role}`)
}

/** The database has the last word (`memberships_keep_an_owner`); this one says what to do. */
async function requireAnotherOwner(sql: Sql, { organizationId }: Membership): Promise<void> {
  if ((await store.countOwners(sql, organizationId)) > 1) return
  throw new DomainError(
    'CONFLICT',
    'An organization keeps at least one owner: make somebody else an owner first',
  )
}
