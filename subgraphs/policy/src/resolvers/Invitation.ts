import { invitationState } from '../domain/invitation.ts'
import type { InvitationResolvers } from '../generated/resolvers.ts'

export const Invitation: InvitationResolvers = {
  state: (invitation, _args, { now }) => invitationState(invitation, now),
  note: (invitation, _args, { invitations }) => invitations.noteOf(invitation),
  createdBy: ({ createdBy }, _args, { person }) => person(createdBy),
}
