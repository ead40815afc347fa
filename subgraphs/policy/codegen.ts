import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('policy', {
  Viewer: '@berth/platform/actor#Actor',
  User: '../model.ts#User as UserModel',
  Organization: '../model.ts#Organization as OrganizationModel',
  Membership: '../model.ts#Membership as MembershipModel',
})
