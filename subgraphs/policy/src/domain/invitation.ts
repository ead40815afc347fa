import { type Id, isId } from '@berth/platform/ids'
import type { Invitation } from '../model.ts'

export type InvitationState = 'PENDING' | 'ACCEPTED' | 'REVOKED' | 'EXPIRED'

/** What an invitation has come to at a time. */
export function invitationState(
  { acceptedAt, revokedAt, expiresAt }: Pick<Invitation, 'acceptedAt' | 'revokedAt' | 'expiresAt'>,
  now: Date,
): InvitationState {
  if (acceptedAt) return 'ACCEPTED'
  if (revokedAt) return 'REVOKED'
  return expiresAt <= now ? 'EXPIRED' : 'PENDING'
}

/** What an invitation is accepted with: `berthinvite_<id>_<secret>`. No credential begins like it. */
export function formatInvitation(id: Id<'inv'>, secret: string): string {
  return `berthinvite_${id.slice('inv_'.length)}_${secret}`
}

/** Null for what was never one. */
export function parseInvitation(token: string): { id: Id<'inv'>; secret: string } | null {
  const [, suffix, secret] = /^berthinvite_(\w{26})_([0-9A-Za-z]{43})$/.exec(token.trim()) ?? []
  const id = `inv_${suffix}`
  return secret !== undefined && isId('inv', id) ? { id, secret } : null
}
