/** What resolvers receive as parents. Rows carry uuids; what leaves the graph carries prefixed ids. */
export type { NodeRow } from './store/nodes.ts'
export type { GpuModelRow, OfferRow, RegionRow } from './store/offers.ts'
export type { ProbeRow } from './store/probes.ts'
export type { SlotRow } from './store/slots.ts'
