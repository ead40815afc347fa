import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'

/** @param organizationId a uuid */
export async function putRecipient(
  sql: Sql,
  organizationId: string,
  userId: Id<'usr'>,
  role: OrganizationRole,
): Promise<void> {
  await sql.query(
    `INSERT INTO recipients (organization_id, user_id, role) VALUES ($1::uuid, $2::uuid, $3)
     ON CONFLICT (organization_id, user_id) DO UPDATE SET role = EXCLUDED.role`,
    [organizationId, idToUuid(userId), role],
  )
}

/** @param organizationId a uuid */
export async function recipientsOf(
  sql: Sql,
  organizationId: string,
  roles: readonly OrganizationRole[],
): Promise<Id<'usr'>[]> {
  const rows = await sql.query<{ user_id: string }>(
    `SELECT user_id FROM recipients
     WHERE organization_id = $1::uuid AND role = ANY ($2::text[]) ORDER BY user_id`,
    [organizationId, roles],
  )
  return rows.map(({ user_id }) => uuidToId('usr', user_id))
}
