import type { Database } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { Sql } from '@berth/platform/sql'
import type { PrismaClient } from '@berth/prisma/allocations'
import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'
import type { Allocation, AllocationEvent, Cause, SshKey } from '../model.ts'
import { type Change, tell, writeChange } from './change.ts'
import { readLocked, toAllocation } from './rows.ts'

const LIVE_SLOTS = { slots: { where: { live: true }, orderBy: { gpuIndex: 'asc' } } } as const

export type AllocationStore = {
  /** Null when the organization has none of that id. */
  find(organizationId: Id<'org'>, id: Id<'alc'>): Promise<Allocation | null>
  /** In any order; those that are not the organization's are left out. */
  findMany(organizationId: Id<'org'>, ids: readonly Id<'alc'>[]): Promise<Allocation[]>
  /** Newest first, from after an id on. */
  page(
    organizationId: Id<'org'>,
    page: { states: readonly AllocationState[] | null; after: Id<'alc'> | null; take: number },
  ): Promise<Allocation[]>
  /** The first events of each allocation, oldest first, by allocation. */
  events(
    organizationId: Id<'org'>,
    ids: readonly Id<'alc'>[],
    first: number,
  ): Promise<Map<Id<'alc'>, AllocationEvent[]>>
  /** In any order; those that are not the organization's are left out. */
  findEvents(organizationId: Id<'org'>, ids: readonly Id<'evt'>[]): Promise<AllocationEvent[]>
  /** For the worker, which acts for no organization. */
  publicKeys(id: Id<'alc'>): Promise<string[]>
}

export function createAllocationStore(database: Database<PrismaClient>): AllocationStore {
  const { prisma, sql } = database
  return {
    async find(organizationId, id) {
      const row = await prisma.allocation.findFirst({
        where: { organizationId: idToUuid(organizationId), id: idToUuid(id) },
        include: LIVE_SLOTS,
      })
      return row && toAllocation(row)
    },

    async findMany(organizationId, ids) {
      const rows = await prisma.allocation.findMany({
        where: { organizationId: idToUuid(organizationId), id: { in: ids.map(idToUuid) } },
        include: LIVE_SLOTS,
      })
      return rows.map(toAllocation)
    },

    async page(organizationId, { states, after, take }) {
      const rows = await prisma.allocation.findMany({
        where: {
          organizationId: idToUuid(organizationId),
          ...(states && { state: { in: [...states] } }),
          ...(after && { id: { lt: idToUuid(after) } }),
        },
        orderBy: { id: 'desc' },
        take,
        include: LIVE_SLOTS,
      })
      return rows.map(toAllocation)
    },

    async events(organizationId, ids, first) {
      const rows = await sql.query<
        Omit<AllocationEvent, 'id'> & { id: string; allocationId: string }
      >(
        `SELECT event.id, allocation_id AS "allocationId", sequence, state, reason, at
         FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
           SELECT * FROM allocation_events
           WHERE allocation_id = wanted.id AND organization_id = $1::uuid ORDER BY sequence LIMIT $3) AS event
         ORDER BY allocation_id, sequence`,
        [idToUuid(organizationId), ids.map(idToUuid), first],
      )
      const events = new Map<Id<'alc'>, AllocationEvent[]>(ids.map((id) => [id, []]))
      for (const { allocationId, id, ...row } of rows) {
        events.get(uuidToId('alc', allocationId))?.push({ ...row, id: uuidToId('evt', id) })
      }
      return events
    },

    async findEvents(organizationId, ids) {
      const rows = await prisma.allocationEvent.findMany({
        where: { organizationId: idToUuid(organizationId), id: { in: ids.map(idToUuid) } },
      })
      return rows.map(({ id, sequence, state, reason, at }) => ({
        id: uuidToId('evt', id),
        sequence,
        state: state as AllocationState,
        reason: reason as AllocationReason | null,
        at,
      }))
    },

    async publicKeys(id) {
      const rows = await prisma.allocationKey.findMany({
        where: { allocationId: idToUuid(id) },
        orderBy: { fingerprint: 'asc' },
      })
      return rows.map((row) => row.publicKey)
    },
  }
}

/** Held to the end of the transaction: an organization asks for more GPUs one request at a time. */
export async function lockHeldGpus(sql: Sql, organizationId: Id<'org'>): Promise<void> {
  await sql.query(
    `SELECT pg_advisory_xact_lock(
       hashtextextended(concat_ws(E'\\x1f', current_schema(), 'held gpus', $1::text), 0)
     )`,
    [organizationId],
  )
}

/** What it holds or has asked for, until it is given back. */
export async function countHeldGpus(sql: Sql, organizationId: Id<'org'>): Promise<number> {
  const [row] = await sql.query<{ count: number }>(
    `SELECT coalesce(sum(gpu_count), 0)::int AS count FROM allocations
     WHERE organization_id = $1::uuid AND state NOT IN ('RELEASED', 'FAILED')`,
    [idToUuid(organizationId)],
  )
  return row?.count ?? 0
}

/** Writes a new allocation with the keys to install, and tells of it, in the caller's transaction. */
export async function insertAllocation(
  sql: Sql,
  allocation: Allocation,
  keys: readonly SshKey[],
): Promise<void> {
  const [id, organizationId] = [idToUuid(allocation.id), idToUuid(allocation.organizationId)]
  await sql.query(
    `INSERT INTO allocations (id, organization_id, created_by, name, state, gpu_model, gpu_count, region, created_at,
       state_deadline_at, next_attempt_at, event_seq, run, actor, correlation_id, causation_id, traceparent)
     VALUES ($1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::jsonb, $15, $16, $17)`,
    [
      id,
      organizationId,
      idToUuid(allocation.createdBy),
      allocation.name,
      allocation.state,
      allocation.gpuModel,
      allocation.gpuCount,
      allocation.region,
      allocation.createdAt,
      allocation.stateDeadlineAt,
      allocation.nextAttemptAt,
      allocation.eventSeq,
      allocation.run,
      JSON.stringify(allocation.actor),
      allocation.cause.correlationId,
      allocation.cause.causationId,
      allocation.cause.traceparent,
    ],
  )
  await sql.query(
    `INSERT INTO allocation_keys (allocation_id, organization_id, ssh_key_id, fingerprint, public_key)
     SELECT $1::uuid, $2::uuid, * FROM unnest($3::uuid[], $4::text[], $5::text[])`,
    [
      id,
      organizationId,
      keys.map((key) => idToUuid(key.id)),
      keys.map((key) => key.fingerprint),
      keys.map((key) => key.publicKey),
    ],
  )
  await tell(sql, allocation, allocation.createdAt)
}

/**
 * Locks an allocation, lets the caller decide, and writes the change, in the caller's transaction.
 * Whoever holds its lease finds out when it commits.
 *
 * @param decide null leaves the allocation as it is
 * @returns null when the organization has none of that id
 */
export async function changeAllocation(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'alc'>,
  decide: (current: Allocation) => Change | null,
  circumstances: { now: Date; cause: Cause },
): Promise<{ before: Allocation; after: Allocation } | null> {
  const [before] = await readLocked(
    sql,
    'SELECT id FROM allocations WHERE organization_id = $1::uuid AND id = $2::uuid FOR UPDATE',
    [idToUuid(organizationId), idToUuid(id)],
  )
  if (!before) return null
  const change = decide(before)
  if (!change) return { before, after: before }
  return {
    before,
    after: await writeChange(sql, before, change, { ...circumstances, endsLease: false }),
  }
}

/** The state of an allocation, which does not change before the caller's transaction ends. */
export async function lockState(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'alc'>,
): Promise<AllocationState | null> {
  const [row] = await sql.query<{ state: AllocationState }>(
    'SELECT state FROM allocations WHERE organization_id = $1::uuid AND id = $2::uuid FOR SHARE',
    [idToUuid(organizationId), idToUuid(id)],
  )
  return row?.state ?? null
}

/** Releases all that an organization has in these states, in the caller's transaction. */
export async function releaseAll(
  sql: Sql,
  organizationId: Id<'org'>,
  states: readonly AllocationState[],
  reason: AllocationReason,
  circumstances: { now: Date; cause: Cause },
): Promise<Allocation[]> {
  const live = await readLocked(
    sql,
    `SELECT id FROM allocations WHERE organization_id = $1::uuid AND state = ANY($2::text[])
     ORDER BY id FOR UPDATE`,
    [idToUuid(organizationId), states],
  )
  const released: Allocation[] = []
  for (const allocation of live) {
    const change: Change = { trigger: 'release', reason }
    released.push(
      await writeChange(sql, allocation, change, { ...circumstances, endsLease: false }),
    )
  }
  return released
}
