import { Membership } from './Membership.ts'
import { Organization } from './Organization.ts'
import { Query } from './Query.ts'
import { User } from './User.ts'
import { Viewer } from './Viewer.ts'

export const resolvers = { Membership, Organization, Query, User, Viewer }
