import type { Id } from '@berth/platform/ids'
import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'
import type { Progress } from './domain/advance.ts'
import type { Login } from './driver/port.ts'

/** GPUs that an organization rents, as the service and its resolvers see them. */
export type Allocation = Progress & {
  readonly id: Id<'alc'>
  readonly organizationId: Id<'org'>
  readonly createdBy: Id<'usr'>
  readonly name: string
  readonly gpuModel: string
  readonly gpuCount: number
  /** What was asked for; null is any. */
  readonly region: string | null
  readonly nodeId: Id<'nod'> | null
  readonly holdId: Id<'hld'> | null
  /** Known from STARTING on. */
  readonly login: Login | null
  readonly createdAt: Date
  /** Those it carries now, by GPU index. */
  readonly slots: readonly CarriedSlot[]
  /** Attempts made in this state. */
  readonly attempts: number
  /** Sequence of its last event. */
  readonly eventSeq: number
}

export type CarriedSlot = {
  readonly slotId: Id<'slt'>
  readonly index: number
  readonly gpuUuid: string
  /** What inventory fences commands by. */
  readonly generation: number
}

/** What a reservation obtained. */
export type Reservation = {
  readonly nodeId: Id<'nod'>
  readonly holdId: Id<'hld'>
  readonly slots: readonly CarriedSlot[]
}

export type AllocationEvent = {
  readonly id: Id<'evt'>
  readonly sequence: number
  readonly state: AllocationState
  readonly reason: AllocationReason | null
  readonly at: Date
}

/** A change of an allocation in the organization's stream. */
export type AllocationUpdate = {
  readonly cursor: string
  readonly allocationId: Id<'alc'>
  readonly event: AllocationEvent
}

export type SshKey = {
  readonly id: Id<'ssk'>
  readonly name: string
  readonly publicKey: string
  readonly fingerprint: string
  readonly createdAt: Date
}

export type TerminalSession = {
  readonly id: Id<'tms'>
  readonly url: string
  readonly expiresAt: Date
  readonly allocationId: Id<'alc'>
}
