import type { Actor } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Sql } from '@berth/platform/database'
import { idToUuid } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import { membershipAdded, organizationCreated } from '@berth/schema/events/policy'
import type { Membership, Organization } from '../model.ts'
import { createDirectoryWrites } from '../store/directory.ts'

export type NewOrganization = Pick<Organization, 'id' | 'name'> & {
  members: readonly Pick<Membership, 'id' | 'userId' | 'role'>[]
}

/**
 * Makes an organization with its first members, and tells of each. What is there already is left as
 * it is and not told of again.
 *
 * @param sql of the transaction that all of it commits in
 */
export async function createOrganization(
  sql: Sql,
  actor: Actor,
  { id, name, members }: NewOrganization,
): Promise<void> {
  if (await createDirectoryWrites(sql).addOrganization({ id, name })) {
    const organizationId = idToUuid(id)
    await appendEvent(sql, organizationCreated, {
      aggregateId: organizationId,
      aggregateSeq: 1,
      organizationId,
      data: {},
    })
    await appendAudit(sql, { organizationId, actor, action: 'organization.create', target: id })
  }
  for (const member of members) await addMember(sql, actor, { ...member, organizationId: id })
}

/** @returns false, and tells of nothing, when the person belongs to the organization already */
export async function addMember(sql: Sql, actor: Actor, membership: Membership): Promise<boolean> {
  if (!(await createDirectoryWrites(sql).addMembership(membership))) return false
  const { id, userId, role } = membership
  const organizationId = idToUuid(membership.organizationId)
  await appendEvent(sql, membershipAdded, {
    aggregateId: idToUuid(id),
    aggregateSeq: 1,
    organizationId,
    data: { userId, role },
  })
  await appendAudit(sql, {
    organizationId,
    actor,
    action: 'membership.add',
    target: id,
    facts: { userId },
    after: { role },
  })
  return true
}
