import type { Resolvers } from '../generated/resolvers.ts'
import { GpuModel } from './GpuModel.ts'
import { Mutation } from './Mutation.ts'
import { Node } from './Node.ts'
import { Offer } from './Offer.ts'
import { Probe } from './Probe.ts'
import { Query } from './Query.ts'
import { Region } from './Region.ts'
import { Slot } from './Slot.ts'

export const resolvers: Resolvers = { Query, Mutation, GpuModel, Node, Offer, Probe, Region, Slot }
