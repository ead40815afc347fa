import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('billing', {
  Allocation: '../model.ts#AllocationRef',
  GpuModel: '../model.ts#GpuModelRef',
  LedgerEntry: '../model.ts#LedgerEntryRow',
  UsageRecord: '../model.ts#UsageRow',
})
