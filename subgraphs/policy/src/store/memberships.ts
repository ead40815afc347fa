import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'
import type { Membership } from '../model.ts'

type Row = { id: string; organization_id: string; user_id: string; role: OrganizationRole }

/** Held to the end of the transaction: who belongs to it is changed by one at a time. */
export async function lockOrganization(sql: Sql, id: Id<'org'>): Promise<void> {
  await sql.query('SELECT 1 FROM organizations WHERE id = $1::uuid FOR NO KEY UPDATE', [
    idToUuid(id),
  ])
}

/** Held to the end of the transaction: the person makes one organization at a time. */
export async function lockUser(sql: Sql, id: Id<'usr'>): Promise<void> {
  await sql.query('SELECT 1 FROM users WHERE id = $1::uuid FOR NO KEY UPDATE', [idToUuid(id)])
}

export async function countOwned(sql: Sql, userId: Id<'usr'>): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM memberships WHERE user_id = $1::uuid AND role = 'OWNER'`,
    [idToUuid(userId)],
  )
  return row?.count ?? 0
}

/** A page, those who came first before the others. */
export async function listMembers(
  sql: Sql,
  organizationId: Id<'org'>,
  { take, after }: { take: number; after: Id<'mem'> | null },
): Promise<Membership[]> {
  const rows = await sql.query<Row>(
    `SELECT id, organization_id, user_id, role FROM memberships
     WHERE organization_id = $1::uuid AND ($2::uuid IS NULL OR id > $2::uuid)
     ORDER BY id LIMIT $3::int`,
    [idToUuid(organizationId), after && idToUuid(after), take],
  )
  return rows.map(membershipOf)
}

export async function findMember(
  sql: Sql,
  organizationId: Id<'org'>,
  by: { id: Id<'mem'> } | { userId: Id<'usr'> },
): Promise<Membership | null> {
  const [column, value] = 'id' in by ? ['id', by.id] : ['user_id', by.userId]
  const [row] = await sql.query<Row>(
    `SELECT id, organization_id, user_id, role FROM memberships
     WHERE organization_id = $1::uuid AND ${column} = $2::uuid`,
    [idToUuid(organizationId), idToUuid(value)],
  )
  return row ? membershipOf(row) : null
}

export async function countMembers(sql: Sql, organizationId: Id<'org'>): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    'SELECT count(*)::int AS count FROM memberships WHERE organization_id = $1::uuid',
    [idToUuid(organizationId)],
  )
  return row?.count ?? 0
}

export async function countOwners(sql: Sql, organizationId: Id<'org'>): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM memberships
     WHERE organization_id = $1::uuid AND role = 'OWNER'`,
    [idToUuid(organizationId)],
  )
  return row?.count ?? 0
}

/** @returns the number of the event that tells of it */
export async function updateRole(
  sql: Sql,
  { id, organizationId }: Pick<Membership, 'id' | 'organizationId'>,
  role: OrganizationRole,
): Promise<bigint> {
  return numberOf(
    await sql.query<{ number: bigint }>(
      `UPDATE memberships SET role = $3, event_seq = event_seq + 1
       WHERE id = $1::uuid AND organization_id = $2::uuid RETURNING event_seq AS number`,
      [idToUuid(id), idToUuid(organizationId), role],
    ),
  )
}

/** @returns the number of the event that tells of it */
export async function deleteMember(
  sql: Sql,
  { id, organizationId }: Pick<Membership, 'id' | 'organizationId'>,
): Promise<bigint> {
  return numberOf(
    await sql.query<{ number: bigint }>(
      `DELETE FROM memberships WHERE id = $1::uuid AND organization_id = $2::uuid
       RETURNING event_seq + 1 AS number`,
      [idToUuid(id), idToUuid(organizationId)],
    ),
  )
}

function numberOf([row]: { number: bigint }[]): bigint {
  if (!row) throw new Error('the membership was read under the organization’s lock')
  return row.number
}

function membershipOf({ id, organization_id, user_id, role }: Row): Membership {
  return {
    id: uuidToId('mem', id),
    organizationId: uuidToId('org', organization_id),
    userId: uuidToId('usr', user_id),
    role,
  }
}
