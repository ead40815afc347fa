import type { Sql } from '@berth/platform/database'
import type { Encrypted } from '@berth/platform/envelope'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'
import type { Invitation } from '../model.ts'
import type { SecretHash } from '../service/secrets.ts'

const COLUMNS = `id, organization_id, role, note_enc, created_by, created_at, expires_at, accepted_at, revoked_at`

type Row = {
  id: string
  organization_id: string
  role: OrganizationRole
  note_enc: string | null
  created_by: string
  created_at: Date
  expires_at: Date
  accepted_at: Date | null
  revoked_at: Date | null
}

export async function insertInvitation(
  sql: Sql,
  invitation: Omit<Invitation, 'acceptedAt' | 'revokedAt' | 'noteEnc'> & {
    noteEnc: Encrypted<string> | null
  },
  { hash, pepperId }: SecretHash,
): Promise<void> {
  const { id, organizationId, role, noteEnc, createdBy, createdAt, expiresAt } = invitation
  await sql.query(
    `INSERT INTO invitations
       (id, organization_id, role, note_enc, token_hash, pepper_id, created_by, created_at, expires_at)
     VALUES ($1::uuid, $2::uuid, $3, $4, $5::bytea, $6::smallint, $7::uuid, $8::timestamptz, $9::timestamptz)`,
    [
      idToUuid(id),
      idToUuid(organizationId),
      role,
      noteEnc,
      hash,
      pepperId,
      idToUuid(createdBy),
      createdAt,
      expiresAt,
    ],
  )
}

/** What an invitation's token is compared with, and whose it is: before anybody is known to it. */
export async function findTokenHash(
  sql: Sql,
  id: Id<'inv'>,
): Promise<(SecretHash & { organizationId: Id<'org'> }) | null> {
  const [row] = await sql.query<{ organization_id: string; token_hash: Buffer; pepper_id: number }>(
    'SELECT organization_id, token_hash, pepper_id FROM invitations WHERE id = $1::uuid',
    [idToUuid(id)],
  )
  return row
    ? {
        organizationId: uuidToId('org', row.organization_id),
        hash: row.token_hash,
        pepperId: row.pepper_id,
      }
    : null
}

export async function findInvitation(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'inv'>,
): Promise<Invitation | null> {
  const [row] = await sql.query<Row>(
    `SELECT ${COLUMNS} FROM invitations WHERE organization_id = $1::uuid AND id = $2::uuid`,
    [idToUuid(organizationId), idToUuid(id)],
  )
  return row ? invitationOf(row) : null
}

/** A page, newest first. */
export async function listInvitations(
  sql: Sql,
  organizationId: Id<'org'>,
  { take, after }: { take: number; after: Id<'inv'> | null },
): Promise<Invitation[]> {
  const rows = await sql.query<Row>(
    `SELECT ${COLUMNS} FROM invitations
     WHERE organization_id = $1::uuid AND ($2::uuid IS NULL OR id < $2::uuid)
     ORDER BY id DESC LIMIT $3::int`,
    [idToUuid(organizationId), after && idToUuid(after), take],
  )
  return rows.map(invitationOf)
}

export async function countPending(
  sql: Sql,
  organizationId: Id<'org'>,
  now: Date,
): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM invitations
     WHERE organization_id = $1::uuid AND accepted_at IS NULL AND revoked_at IS NULL
       AND expires_at > $2::timestamptz`,
    [idToUuid(organizationId), now],
  )
  return row?.count ?? 0
}

/** Those of one member that can be accepted still. */
export async function pendingOf(
  sql: Sql,
  organizationId: Id<'org'>,
  createdBy: Id<'usr'>,
  now: Date,
): Promise<Invitation[]> {
  const rows = await sql.query<Row>(
    `SELECT ${COLUMNS} FROM invitations
     WHERE organization_id = $1::uuid AND created_by = $2::uuid
       AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $3::timestamptz`,
    [idToUuid(organizationId), idToUuid(createdBy), now],
  )
  return rows.map(invitationOf)
}

/** @returns whether it was open: it is accepted or revoked once */
export async function settleInvitation(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'inv'>,
  by: { acceptedBy: Id<'usr'> } | 'revoked',
  now: Date,
): Promise<boolean> {
  const accepted = by === 'revoked' ? null : idToUuid(by.acceptedBy)
  const rows = await sql.query(
    `UPDATE invitations SET note_enc = NULL,
       accepted_by = $3::uuid,
       accepted_at = CASE WHEN $3::uuid IS NOT NULL THEN $4::timestamptz END,
       revoked_at = CASE WHEN $3::uuid IS NULL THEN $4::timestamptz END
     WHERE organization_id = $1::uuid AND id = $2::uuid AND accepted_at IS NULL AND revoked_at IS NULL
     RETURNING 1`,
    [idToUuid(organizationId), idToUuid(id), accepted, now],
  )
  return rows.length === 1
}

function invitationOf(row: Row): Invitation {
  return {
    id: uuidToId('inv', row.id),
    organizationId: uuidToId('org', row.organization_id),
    role: row.role,
    noteEnc: row.note_enc,
    createdBy: uuidToId('usr', row.created_by),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    acceptedAt: row.accepted_at,
    revokedAt: row.revoked_at,
  }
}
