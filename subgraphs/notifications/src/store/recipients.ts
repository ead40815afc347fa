import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'

/** What an event of a membership says; ids are uuids. */
export type MembershipNews = {
  readonly membershipId: string
  /** The event's place among those of this membership. */
  readonly sequence: bigint
  readonly organizationId: string
  readonly userId: Id<'usr'>
  /** Null: it is over. */
  readonly role: OrganizationRole | null
}

/**
 * Held to the end of the transaction: until then nobody comes, goes, or is told something as a member
 * who is none any more. Those who only tell share it.
 *
 * @param organizationId a uuid
 */
export async function lockMembers(
  sql: Sql,
  organizationId: string,
  { shared }: { shared: boolean },
): Promise<void> {
  const lock = shared ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'
  await sql.query(`SELECT ${lock}(hashtextextended('notifications.members.' || $1, 0))`, [
    organizationId,
  ])
}

/** Notes what is newer than what is known of the membership; under the organization's lock. */
export async function noteMembership(sql: Sql, news: MembershipNews): Promise<void> {
  const { membershipId, sequence, organizationId, userId, role } = news
  const person = [organizationId, idToUuid(userId)]
  await sql.query(
    `INSERT INTO recipients AS r (organization_id, user_id, membership_id, sequence, role, is_member)
     VALUES ($1::uuid, $2::uuid, $3::uuid, $4::bigint, $5, $5::text IS NOT NULL)
     ON CONFLICT (membership_id) DO UPDATE SET sequence = EXCLUDED.sequence,
       role = EXCLUDED.role, is_member = EXCLUDED.is_member
     WHERE r.sequence < EXCLUDED.sequence AND r.is_member`,
    [...person, membershipId, sequence, role],
  )
  // What was known by the person alone is known by a membership from now on.
  await sql.query(
    `UPDATE recipients SET is_member = false
     WHERE organization_id = $1::uuid AND user_id = $2::uuid AND sequence = 0 AND is_member`,
    person,
  )
}

/** @param organizationId a uuid */
export async function isMember(
  sql: Sql,
  organizationId: string,
  userId: Id<'usr'>,
): Promise<boolean> {
  const rows = await sql.query(
    `SELECT 1 FROM recipients
     WHERE organization_id = $1::uuid AND user_id = $2::uuid AND is_member LIMIT 1`,
    [organizationId, idToUuid(userId)],
  )
  return rows.length === 1
}

/**
 * Whether somebody is known to have left. That they came may be told later than what they did there.
 *
 * @param organizationId a uuid
 */
export async function hasLeft(
  sql: Sql,
  organizationId: string,
  userId: Id<'usr'>,
): Promise<boolean> {
  const [row] = await sql.query<{ has_left: boolean | null }>(
    `SELECT NOT bool_or(is_member) AS has_left FROM recipients
     WHERE organization_id = $1::uuid AND user_id = $2::uuid`,
    [organizationId, idToUuid(userId)],
  )
  return row?.has_left ?? false
}

/**
 * The members in these roles, as of now.
 *
 * @param organizationId a uuid
 */
export async function recipientsOf(
  sql: Sql,
  organizationId: string,
  roles: readonly OrganizationRole[],
): Promise<Id<'usr'>[]> {
  const rows = await sql.query<{ user_id: string }>(
    `SELECT DISTINCT user_id FROM recipients
     WHERE organization_id = $1::uuid AND is_member AND role = ANY ($2::text[]) ORDER BY user_id`,
    [organizationId, roles],
  )
  return rows.map(({ user_id }) => uuidToId('usr', user_id))
}
