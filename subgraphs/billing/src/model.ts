/** What resolvers receive as parents. Rows carry uuids; what leaves the graph carries prefixed ids. */
export type { LedgerEntryRow } from './store/ledger.ts'
export type { UsageRow } from './store/usage.ts'

export type AllocationRef = { readonly id: string }
export type GpuModelRef = { readonly code: string }
