import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('policy', {
  Viewer: '@berth/platform/actor#Actor',
  User: '../model.ts#User as UserModel',
  Organization: '../model.ts#Organization as OrganizationModel',
  Membership: '../model.ts#Membership as MembershipModel',
  Invitation: '../model.ts#Invitation as InvitationModel',
  ApiKey: '../model.ts#ApiKey as ApiKeyModel',
  Session: '../model.ts#Session as SessionModel',
})
