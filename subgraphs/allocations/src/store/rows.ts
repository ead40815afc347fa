import type { ActorClaims } from '@berth/platform/actor'
import { uuidToId } from '@berth/platform/ids'
import type { Sql } from '@berth/platform/sql'
import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'
import type { Allocation } from '../model.ts'

/** A row with the slots it carries, as Prisma gives it and as `SELECT ${COLUMNS}` does. */
export type AllocationRow = {
  id: string
  organizationId: string
  createdBy: string
  name: string
  state: string
  reason: string | null
  gpuModel: string
  gpuCount: number
  region: string | null
  nodeId: string | null
  holdId: string | null
  run: number
  actor: unknown
  correlationId: string | null
  causationId: string | null
  traceparent: string | null
  nodeName: string | null
  sshHost: string | null
  sshPort: number | null
  sshUsername: string | null
  sshHostKeyFingerprint: string | null
  createdAt: Date
  startedAt: Date | null
  endedAt: Date | null
  stateDeadlineAt: Date | null
  nextAttemptAt: Date | null
  attempts: number
  isNodeTouched: boolean
  isCleanupPending: boolean
  eventSeq: number
  slots: { slotId: string; gpuIndex: number; gpuUuid: string; generation: bigint | number }[]
}

/** Of `allocations`, with its live slots. */
const COLUMNS = `
  allocations.id, organization_id AS "organizationId", created_by AS "createdBy", name, state, reason,
  gpu_model AS "gpuModel", gpu_count AS "gpuCount", region, node_id AS "nodeId", hold_id AS "holdId",
  run, actor, correlation_id AS "correlationId", causation_id AS "causationId", traceparent,
  node_name AS "nodeName", ssh_host AS "sshHost", ssh_port AS "sshPort", ssh_username AS "sshUsername",
  ssh_host_key_fingerprint AS "sshHostKeyFingerprint", created_at AS "createdAt", started_at AS "startedAt",
  ended_at AS "endedAt", state_deadline_at AS "stateDeadlineAt", next_attempt_at AS "nextAttemptAt", attempts,
  is_node_touched AS "isNodeTouched", is_cleanup_pending AS "isCleanupPending", event_seq AS "eventSeq",
  (SELECT coalesce(jsonb_agg(jsonb_build_object('slotId', slot_id, 'gpuIndex', gpu_index, 'gpuUuid', gpu_uuid,
      'generation', generation) ORDER BY gpu_index), '[]')
    FROM allocation_slots WHERE allocation_id = allocations.id AND live) AS slots`

export function toAllocation(row: AllocationRow): Allocation {
  const { nodeName, sshHost, sshPort, sshUsername, sshHostKeyFingerprint, slots, ...rest } = row
  const { correlationId, causationId, traceparent, actor, ...fields } = rest
  return {
    ...fields,
    id: uuidToId('alc', row.id),
    organizationId: uuidToId('org', row.organizationId),
    createdBy: uuidToId('usr', row.createdBy),
    nodeId: row.nodeId === null ? null : uuidToId('nod', row.nodeId),
    // As `insertAllocation` wrote it.
    actor: actor as ActorClaims,
    cause: { correlationId, causationId, traceparent },
    holdId: row.holdId === null ? null : uuidToId('hld', row.holdId),
    // The table's CHECK admits no other values.
    state: row.state as AllocationState,
    reason: row.reason as AllocationReason | null,
    login:
      nodeName && sshHost && sshPort && sshUsername && sshHostKeyFingerprint
        ? {
            nodeName,
            host: sshHost,
            port: sshPort,
            username: sshUsername,
            hostKeyFingerprint: sshHostKeyFingerprint,
          }
        : null,
    slots: slots.map((slot) => ({
      slotId: uuidToId('slt', slot.slotId),
      index: slot.gpuIndex,
      gpuUuid: slot.gpuUuid,
      generation: Number(slot.generation),
    })),
  }
}

/**
 * Locks the rows that a query names by their ids, then reads them: two statements, because one that
 * waits for a lock would see the row anew and its slots of old.
 *
 * @param ids `SELECT id FROM allocations WHERE … FOR UPDATE`
 */
export async function readLocked(
  sql: Sql,
  ids: string,
  values: readonly unknown[],
): Promise<Allocation[]> {
  const locked = await sql.query<{ id: string }>(ids, values)
  if (locked.length === 0) return []
  const rows = await sql.query<AllocationRow>(
    `SELECT ${COLUMNS} FROM allocations WHERE id = ANY($1::uuid[]) ORDER BY id`,
    [locked.map((it) => it.id)],
  )
  return rows.map(toAllocation)
}
