import type { ActorClaims } from '@berth/platform/actor'
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
  /** Which run this is; its slots, hold, start and end are the run's. 1 until there is a start after a stop. */
  readonly run: number
  /** Whom the platform acts for: who asked for it. */
  readonly actor: ActorClaims
  readonly cause: Cause
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

/** What set an allocation going last; its events and the commands for it carry it on. */
export type Cause = {
  /** The request's id. */
  readonly correlationId: string | null
  /** The event's id, when one led to it. */
  readonly causationId: string | null
  readonly traceparent: string | null
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
