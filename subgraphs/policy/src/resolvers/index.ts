import { ApiKey } from './ApiKey.ts'
import { AuditActor } from './AuditActor.ts'
import { AuditEvent } from './AuditEvent.ts'
import { Invitation } from './Invitation.ts'
import { Membership } from './Membership.ts'
import { Mutation } from './Mutation.ts'
import { Organization } from './Organization.ts'
import { Policy } from './Policy.ts'
import { PolicyChange } from './PolicyChange.ts'
import { PolicyDecision } from './PolicyDecision.ts'
import { Query } from './Query.ts'
import { Session } from './Session.ts'
import { User } from './User.ts'
import { Viewer } from './Viewer.ts'

export const resolvers = {
  ApiKey,
  AuditActor,
  AuditEvent,
  Invitation,
  Membership,
  Mutation,
  Organization,
  Policy,
  PolicyChange,
  PolicyDecision,
  Query,
  Session,
  User,
  Viewer,
}
