import type { Resolvers } from '../generated/resolvers.ts'
import { Allocation } from './Allocation.ts'
import { GpuModel } from './GpuModel.ts'
import { LedgerEntry } from './LedgerEntry.ts'
import { Query } from './Query.ts'
import { UsageRecord } from './UsageRecord.ts'

export const resolvers: Resolvers = { Query, Allocation, GpuModel, LedgerEntry, UsageRecord }
