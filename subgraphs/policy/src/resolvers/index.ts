import { ApiKey } from './ApiKey.ts'
import { Invitation } from './Invitation.ts'
import { Membership } from './Membership.ts'
import { Mutation } from './Mutation.ts'
import { Organization } from './Organization.ts'
import { Query } from './Query.ts'
import { Session } from './Session.ts'
import { User } from './User.ts'
import { Viewer } from './Viewer.ts'

export const resolvers = {
  ApiKey,
  Invitation,
  Membership,
  Mutation,
  Organization,
  Query,
  Session,
  User,
  Viewer,
}
