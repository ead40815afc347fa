import { event, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/** The states of an allocation, and the reasons for them, as they travel in events. */
export const allocationStates = [
  'REQUESTED',
  'RESERVED',
  'PROVISIONING',
  'STARTING',
  'RUNNING',
  'STOPPING',
  'STOPPED',
  'RELEASING',
  'RELEASED',
  'FAILED',
] as const
export const allocationReasons = [
  'USER',
  'NO_CAPACITY',
  'QUOTA',
  'POLICY',
  'NO_BALANCE',
  'PREEMPTED',
  'NODE_LOST',
  'PROVISION_TIMEOUT',
  'IMAGE_ERROR',
  'IDLE',
  'MAX_DURATION',
  'ADMIN',
] as const

export type AllocationState = (typeof allocationStates)[number]
export type AllocationReason = (typeof allocationReasons)[number]

/** What every event of an allocation tells: ids, the state it led to, and what billing counts. */
const change = z.strictObject({
  state: z.enum(allocationStates),
  reason: z.enum(allocationReasons).nullable(),
  /** Which run of the allocation this is, from 1 on. */
  run: z.int().min(1),
  createdBy: idOf('usr'),
  gpuModel: z.string().max(80),
  gpuCount: z.int().min(1).max(16),
  /** The run's start and end. */
  startedAt: z.iso.datetime().nullable(),
  endedAt: z.iso.datetime().nullable(),
})

const of = (verb: Lowercase<AllocationState>) =>
  event({ domain: 'allocations', aggregate: 'allocation', verb, version: 1, data: change })

/** One event for each state an allocation enters, by the state. */
export const allocationChanged = {
  REQUESTED: of('requested'),
  RESERVED: of('reserved'),
  PROVISIONING: of('provisioning'),
  STARTING: of('starting'),
  RUNNING: of('running'),
  STOPPING: of('stopping'),
  STOPPED: of('stopped'),
  RELEASING: of('releasing'),
  RELEASED: of('released'),
  FAILED: of('failed'),
} as const satisfies Record<AllocationState, unknown>
