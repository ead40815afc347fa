import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('inventory', {
  GpuModel: '../model.ts#GpuModelRow',
  Node: '../model.ts#NodeRow',
  Offer: '../model.ts#OfferRow',
  Probe: '../model.ts#ProbeRow',
  Region: '../model.ts#RegionRow',
  Slot: '../model.ts#SlotRow',
})
