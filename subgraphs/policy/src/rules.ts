import {
  allow,
  and,
  inOrganization,
  isAuthenticated,
  mayDo,
  type Rules,
} from '@berth/platform/shield'

/**
 * Who may call what; whatever is not named here is denied. Whose a person or an organization is, the
 * directory asks.
 */
export const rules: Rules = {
  Query: {
    viewer: allow,
    organization: and(inOrganization, mayDo('organization:read')),
    apiKeys: and(inOrganization, mayDo('organization:keys')),
    sessions: isAuthenticated,
  },
  Mutation: {
    organizationCreate: isAuthenticated,
    membershipSetRole: and(inOrganization, mayDo('organization:manage')),
    // Oneself, or another one: the service asks which.
    membershipRemove: inOrganization,
    invitationCreate: and(inOrganization, mayDo('organization:invite')),
    invitationAccept: isAuthenticated,
    invitationRevoke: and(inOrganization, mayDo('organization:invite')),
    apiKeyCreate: and(inOrganization, mayDo('organization:keys')),
    apiKeyRotate: and(inOrganization, mayDo('organization:keys')),
    apiKeyRevoke: and(inOrganization, mayDo('organization:keys')),
    sessionRevoke: isAuthenticated,
  },
  Viewer: allow,
  User: allow,
  Organization: {
    '*': allow,
    members: mayDo('organization:members'),
    invitations: mayDo('organization:invite'),
  },
  Membership: allow,
  MembershipConnection: allow,
  MembershipEdge: allow,
  Invitation: allow,
  InvitationConnection: allow,
  InvitationEdge: allow,
  ApiKey: allow,
  ApiKeyConnection: allow,
  ApiKeyEdge: allow,
  PageInfo: allow,
  OrganizationCreatePayload: allow,
  MembershipSetRolePayload: allow,
  MembershipRemovePayload: allow,
  InvitationCreatePayload: allow,
  InvitationAcceptPayload: allow,
  InvitationRevokePayload: allow,
  ApiKeyCreatePayload: allow,
  ApiKeyRotatePayload: allow,
  ApiKeyRevokePayload: allow,
  Session: allow,
  SessionRevokePayload: allow,
}
