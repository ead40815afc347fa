import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('allocations', {
  Allocation: '../model.ts#Allocation as AllocationModel',
  AllocationEvent: '../model.ts#AllocationEvent as AllocationEventModel',
  AllocationUpdate: '../model.ts#AllocationUpdate as AllocationUpdateModel',
  SshKey: '../model.ts#SshKey as SshKeyModel',
  TerminalSession: '../model.ts#TerminalSession as TerminalSessionModel',
})
