import { idToUuid } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import type { Sql } from '@berth/platform/sql'
import { type AllocationReason, allocationChanged } from '@berth/schema/events/allocations'
import { advance } from '../domain/advance.ts'
import { allowedActions, type Trigger } from '../domain/machine.ts'
import type { Login } from '../driver/port.ts'
import type { Allocation, CarriedSlot, Cause, Reservation } from '../model.ts'

/** One step of an allocation's life, with what was learned in it. */
export type Change = {
  readonly trigger: Trigger
  readonly reason?: AllocationReason
  readonly reservation?: Reservation
  /** The slots' new generations. */
  readonly bound?: readonly Pick<CarriedSlot, 'slotId' | 'generation'>[]
  readonly login?: Login
}

export type Circumstances = {
  readonly now: Date
  /** What led to it; what set the allocation going before when absent. */
  readonly cause?: Cause
  /** Whether whoever makes the change holds the lease, and is done with it. */
  readonly endsLease: boolean
}

/**
 * Writes a transition and tells of it: the row, its event and the outbox row, in the caller's
 * transaction, in which the row must be locked.
 *
 * @throws {IllegalTransition} when the machine has no such transition
 */
export async function writeChange(
  sql: Sql,
  before: Allocation,
  change: Change,
  { now, cause = before.cause, endsLease }: Circumstances,
): Promise<Allocation> {
  const progress = advance(
    before,
    change.trigger,
    change.reason ? { now, reason: change.reason } : { now },
  )
  const { reservation, bound } = change
  const after: Allocation = {
    ...before,
    ...progress,
    ...(reservation && { nodeId: reservation.nodeId, holdId: reservation.holdId }),
    cause,
    login: change.login ?? before.login,
    slots: slotsAfter(before, change),
    attempts: 0,
    eventSeq: before.eventSeq + 1,
  }
  await updateRow(sql, after, endsLease)
  if (reservation) await insertSlots(sql, after, reservation.slots)
  if (bound) await updateGenerations(sql, after, bound)
  if (change.trigger === 'confirm') await retireSlots(sql, after)
  if (hasTerminals(before) && !hasTerminals(after)) await revokeTerminals(sql, after, now)
  await tell(sql, after, now)
  return after
}

/** Appends what the allocation's state now is to its events and to the outbox. */
export async function tell(sql: Sql, allocation: Allocation, now: Date): Promise<void> {
  const { id, organizationId, state, reason, run, eventSeq, cause } = allocation
  const eventId = await appendEvent(sql, allocationChanged[state], {
    aggregateId: idToUuid(id),
    aggregateSeq: eventSeq,
    organizationId: idToUuid(organizationId),
    occurredAt: now,
    ...(cause.correlationId && { correlationId: cause.correlationId }),
    ...(cause.causationId && { causationId: cause.causationId }),
    ...(cause.traceparent && { traceparent: cause.traceparent }),
    data: {
      state,
      reason,
      run,
      createdBy: allocation.createdBy,
      gpuModel: allocation.gpuModel,
      gpuCount: allocation.gpuCount,
      startedAt: allocation.startedAt?.toISOString() ?? null,
      endedAt: allocation.endedAt?.toISOString() ?? null,
    },
  })
  await sql.query(
    `INSERT INTO allocation_events (id, allocation_id, organization_id, sequence, state, reason, at)
     VALUES ($1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7)`,
    [eventId, idToUuid(id), idToUuid(organizationId), eventSeq, state, reason, now],
  )
}

/** The slots are not the allocation's any more: inventory may give them to another. */
export async function retireSlots(sql: Sql, { id }: Pick<Allocation, 'id'>): Promise<void> {
  await sql.query(
    'UPDATE allocation_slots SET live = false WHERE allocation_id = $1::uuid AND live',
    [idToUuid(id)],
  )
}

function hasTerminals({ state }: Allocation): boolean {
  return allowedActions(state).includes('OPEN_TERMINAL')
}

/** A terminal that crashed never says that its sessions are over. */
async function revokeTerminals(sql: Sql, { id }: Allocation, now: Date): Promise<void> {
  await sql.query(
    `UPDATE terminal_sessions SET closed_at = $2, close_reason = 'REVOKED'
     WHERE allocation_id = $1::uuid AND closed_at IS NULL`,
    [idToUuid(id), now],
  )
}

function slotsAfter(
  before: Allocation,
  { trigger, reservation, bound = [] }: Change,
): readonly CarriedSlot[] {
  if (trigger === 'confirm') return []
  const generations = new Map(bound.map((it) => [it.slotId, it.generation]))
  return (reservation?.slots ?? before.slots).map((slot) => ({
    ...slot,
    generation: generations.get(slot.slotId) ?? slot.generation,
  }))
}

async function updateRow(sql: Sql, it: Allocation, endsLease: boolean): Promise<void> {
  await sql.query(
    `UPDATE allocations SET state = $2, reason = $3, started_at = $4, ended_at = $5, state_deadline_at = $6,
       next_attempt_at = $7, is_node_touched = $8, is_cleanup_pending = $9, node_id = $10::uuid, hold_id = $11::uuid,
       node_name = $12, ssh_host = $13, ssh_port = $14, ssh_username = $15, ssh_host_key_fingerprint = $16,
       event_seq = $17, correlation_id = $18, causation_id = $19, traceparent = $20, attempts = 0${endsLease ? ', lease_token = NULL, lease_until = NULL' : ''}
     WHERE id = $1::uuid`,
    [
      idToUuid(it.id),
      it.state,
      it.reason,
      it.startedAt,
      it.endedAt,
      it.stateDeadlineAt,
      it.nextAttemptAt,
      it.isNodeTouched,
      it.isCleanupPending,
      it.nodeId && idToUuid(it.nodeId),
      it.holdId && idToUuid(it.holdId),
      it.login?.nodeName ?? null,
      it.login?.host ?? null,
      it.login?.port ?? null,
      it.login?.username ?? null,
      it.login?.hostKeyFingerprint ?? null,
      it.eventSeq,
      it.cause.correlationId,
      it.cause.causationId,
      it.cause.traceparent,
    ],
  )
}

/** @throws with SQLSTATE 23505 when a slot still carries another live allocation. */
async function insertSlots(sql: Sql, it: Allocation, slots: readonly CarriedSlot[]): Promise<void> {
  await sql.query(
    `INSERT INTO allocation_slots (allocation_id, run, organization_id, slot_id, gpu_index, gpu_uuid, generation)
     SELECT $1::uuid, $7::int, $2::uuid, * FROM unnest($3::uuid[], $4::int[], $5::text[], $6::bigint[])`,
    [
      idToUuid(it.id),
      idToUuid(it.organizationId),
      slots.map((slot) => idToUuid(slot.slotId)),
      slots.map((slot) => slot.index),
      slots.map((slot) => slot.gpuUuid),
      slots.map((slot) => slot.generation),
      it.run,
    ],
  )
}

async function updateGenerations(
  sql: Sql,
  it: Allocation,
  bound: readonly Pick<CarriedSlot, 'slotId' | 'generation'>[],
): Promise<void> {
  await sql.query(
    `UPDATE allocation_slots SET generation = bound.generation
     FROM unnest($2::uuid[], $3::bigint[]) AS bound (slot_id, generation)
     WHERE allocation_slots.allocation_id = $1::uuid AND allocation_slots.run = $4::int
       AND allocation_slots.slot_id = bound.slot_id`,
    [
      idToUuid(it.id),
      bound.map((slot) => idToUuid(slot.slotId)),
      bound.map((slot) => slot.generation),
      it.run,
    ],
  )
}
