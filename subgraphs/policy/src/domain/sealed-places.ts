import type { Aad } from '@berth/platform/envelope'
import type { Id } from '@berth/platform/ids'
import type { Authority } from './certificate.ts'

/** Where policy's secrets stand: each is sealed for its own place, and opens nowhere else. */

export function authorityPlace(row: Authority): Aad {
  return { table: 'ssh_authorities', column: 'private_key_enc', row, organizationId: null }
}

export function pepperPlace(id: number): Aad {
  return { table: 'peppers', column: 'secret_enc', row: String(id), organizationId: null }
}

export function invitationNotePlace(row: Id<'inv'>, organizationId: Id<'org'>): Aad {
  return { table: 'invitations', column: 'note_enc', row, organizationId }
}

export function refreshTokenPlace(row: Id<'ses'>): Aad {
  return { table: 'sessions', column: 'refresh_token_enc', row, organizationId: null }
}
