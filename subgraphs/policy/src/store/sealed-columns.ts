import { uuidToId } from '@berth/platform/ids'
import type { SealedColumn } from '@berth/platform/rewrap'
import type { Authority } from '../domain/certificate.ts'
import {
  authorityPlace,
  invitationNotePlace,
  pepperPlace,
  refreshTokenPlace,
} from '../domain/sealed-places.ts'

/** Everything of policy's that is at rest as an envelope. */
export const sealedColumns: readonly SealedColumn[] = [
  {
    table: 'ssh_authorities',
    column: 'private_key_enc',
    key: { column: 'name', type: 'text' },
    place: ({ key }) => authorityPlace(key as Authority),
    replace: 'SELECT 1 WHERE rewrap_ssh_authority($1, $2, $3)',
  },
  {
    table: 'peppers',
    column: 'secret_enc',
    key: { column: 'id', type: 'smallint' },
    place: ({ key }) => pepperPlace(Number(key)),
    replace: 'SELECT 1 WHERE rewrap_pepper($1::smallint, $2, $3)',
  },
  {
    table: 'invitations',
    column: 'note_enc',
    key: { column: 'id', type: 'uuid' },
    organization: 'organization_id',
    place: ({ key, organizationId }) =>
      invitationNotePlace(uuidToId('inv', key), uuidToId('org', organizationId ?? '')),
  },
  {
    table: 'sessions',
    column: 'refresh_token_enc',
    key: { column: 'id', type: 'uuid' },
    place: ({ key }) => refreshTokenPlace(uuidToId('ses', key)),
  },
]
