import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('policy', {
  Viewer: '@berth/platform/actor#Actor',
  User: '../model.ts#User as UserModel',
  Organization: '../model.ts#Organization as OrganizationModel',
  Membership: '../model.ts#Membership as MembershipModel',
  Invitation: '../model.ts#Invitation as InvitationModel',
  ApiKey: '../model.ts#ApiKey as ApiKeyModel',
  AuditEvent: '../model.ts#AuditEvent as AuditEventModel',
  AuditActor: '../model.ts#AuditActor as AuditActorModel',
  Session: '../model.ts#Session as SessionModel',
  Policy: '../model.ts#PolicyView as PolicyModel',
  PolicyChange: '../model.ts#PolicyChange as PolicyChangeModel',
  PolicyDecision: '../model.ts#DecisionRecord',
  PolicyRulesDryRun: '../service/rules-dry-run.ts#DryRun',
})
