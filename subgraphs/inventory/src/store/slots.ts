import type { Sql } from '@berth/platform/database'

export type SlotState = 'FREE' | 'HELD' | 'BOUND' | 'CLEANING' | 'QUARANTINED'

/** One GPU of one node. */
export type SlotRow = {
  readonly id: string
  readonly nodeId: string
  readonly index: number
  readonly gpuUuid: string
  readonly gpuModelCode: string
  readonly state: SlotState
  /** The fencing token: grows at every change of state. */
  readonly generation: bigint
  readonly allocationId: string | null
  readonly run: number | null
  readonly organizationId: string | null
}

/** What slots are held for: one run of an allocation. */
export type Carrier = { allocationId: string; run: number }

const COLUMNS = `id, node_id AS "nodeId", index, gpu_uuid AS "gpuUuid",
  gpu_model_code AS "gpuModelCode", state, generation, allocation_id AS "allocationId", run,
  organization_id AS "organizationId"`

/** Of one allocation's commands, one runs at a time; the others wait until its transaction ends. */
export async function lockAllocation(sql: Sql, allocationId: string): Promise<void> {
  await sql.query(`SELECT pg_advisory_xact_lock(hashtextextended('slots:' || $1::text, 0))`, [
    allocationId,
  ])
}

/** Where a node stands. */
export async function regionOf(sql: Sql, nodeId: string): Promise<string> {
  const [node] = await sql.query<{ code: string }>(
    'SELECT region_code AS code FROM nodes WHERE id = $1::uuid',
    [nodeId],
  )
  if (!node) throw new Error(`there is no node ${nodeId}`)
  return node.code
}

/** What a run carries, locked, by index. */
export async function lockSlotsOf(sql: Sql, { allocationId, run }: Carrier): Promise<SlotRow[]> {
  return sql.query<SlotRow>(
    `SELECT ${COLUMNS} FROM slots WHERE allocation_id = $1::uuid AND run = $2::int
     ORDER BY index FOR UPDATE`,
    [allocationId, run],
  )
}

export type SlotDemand = Carrier & {
  organizationId: string
  gpuModel: string
  gpuCount: number
  /** Null for any. */
  region: string | null
}

/**
 * The node that fits best: of those that take allocations and have enough free slots, the one that
 * has the fewest left afterwards. A look without a lock: see `lockNodeForHold`.
 */
export async function bestNode(sql: Sql, demand: SlotDemand): Promise<string | null> {
  const [node] = await sql.query<{ id: string }>(
    `SELECT node.id FROM nodes AS node JOIN slots AS slot ON slot.node_id = node.id
     WHERE node.state = 'READY' AND node.health <> 'FAILURE'
       AND ($4::text IS NULL OR node.region_code = $4)
     GROUP BY node.id
     HAVING count(*) FILTER (WHERE slot.state = 'FREE' AND slot.gpu_model_code = $1) >= $2::int
       AND (node.is_isolated OR count(*) FILTER (WHERE slot.organization_id <> $3::uuid) = 0)
     ORDER BY count(*) FILTER (WHERE slot.state = 'FREE' AND slot.gpu_model_code = $1), node.id
     LIMIT 1`,
    [demand.gpuModel, demand.gpuCount, demand.organizationId, demand.region],
  )
  return node?.id ?? null
}

/**
 * Locks a node for a hold, if it still takes allocations. Holds on one node queue here: whether it
 * serves one organization only can be seen from all of its slots, and from nothing less.
 */
export async function lockNodeForHold(
  sql: Sql,
  nodeId: string,
): Promise<{ regionCode: string; isIsolated: boolean } | null> {
  const [node] = await sql.query<{ regionCode: string; isIsolated: boolean }>(
    `SELECT region_code AS "regionCode", is_isolated AS "isIsolated" FROM nodes
     WHERE id = $1::uuid AND state = 'READY' AND health <> 'FAILURE' FOR NO KEY UPDATE`,
    [nodeId],
  )
  return node ?? null
}

export async function servesAnother(
  sql: Sql,
  nodeId: string,
  organizationId: string,
): Promise<boolean> {
  const others = await sql.query(
    'SELECT FROM slots WHERE node_id = $1::uuid AND organization_id <> $2::uuid LIMIT 1',
    [nodeId, organizationId],
  )
  return others.length > 0
}

/** FREE → HELD for as many as are asked for, or for none. @returns those taken */
export async function takeSlots(
  sql: Sql,
  nodeId: string,
  demand: SlotDemand,
  now: Date,
): Promise<SlotRow[]> {
  return sql.query<SlotRow>(
    `WITH chosen AS (
       SELECT id FROM slots
       WHERE node_id = $1::uuid AND gpu_model_code = $2 AND state = 'FREE'
       ORDER BY index LIMIT $3::int FOR UPDATE
     )
     UPDATE slots SET state = 'HELD', generation = generation + 1, allocation_id = $4::uuid,
       run = $7::int, organization_id = $5::uuid, changed_at = $6::timestamptz
     WHERE id IN (SELECT id FROM chosen) AND (SELECT count(*) FROM chosen) = $3::int
     RETURNING ${COLUMNS}`,
    [
      nodeId,
      demand.gpuModel,
      demand.gpuCount,
      demand.allocationId,
      demand.organizationId,
      now,
      demand.run,
    ],
  )
}

/** HELD → BOUND, for each slot that is at its generation. @returns those bound */
export async function bindAt(
  sql: Sql,
  { allocationId, run }: Carrier,
  fenced: readonly { slotId: string; generation: number }[],
  now: Date,
): Promise<SlotRow[]> {
  return sql.query<SlotRow>(
    `UPDATE slots SET state = 'BOUND', generation = slots.generation + 1,
       changed_at = $4::timestamptz
     FROM unnest($2::uuid[], $3::bigint[]) AS fenced (slot_id, at)
     WHERE slots.id = fenced.slot_id AND slots.allocation_id = $1::uuid
       AND slots.run = $5::int
       AND slots.state = 'HELD' AND slots.generation = fenced.at
     RETURNING ${COLUMNS}`,
    [allocationId, fenced.map((it) => it.slotId), fenced.map((it) => it.generation), now, run],
  )
}

/** CLEAN: FREE, carrying nothing. UNCONFIRMED: QUARANTINED, still saying what it carried. */
export async function giveBack(
  sql: Sql,
  { allocationId, run }: Carrier,
  outcome: 'CLEAN' | 'UNCONFIRMED',
  now: Date,
): Promise<number> {
  const rows = await sql.query(
    `UPDATE slots SET generation = generation + 1, changed_at = $3::timestamptz,
       state = CASE WHEN $2 = 'CLEAN' THEN 'FREE' ELSE 'QUARANTINED' END,
       allocation_id = CASE WHEN $2 = 'CLEAN' THEN NULL ELSE allocation_id END,
       run = CASE WHEN $2 = 'CLEAN' THEN NULL ELSE run END,
       organization_id = CASE WHEN $2 = 'CLEAN' THEN NULL ELSE organization_id END
     WHERE allocation_id = $1::uuid AND run = $4::int AND state IN ('HELD', 'BOUND', 'CLEANING') RETURNING id`,
    [allocationId, outcome, now, run],
  )
  return rows.length
}

export async function findRelease(
  sql: Sql,
  { allocationId, run }: Carrier,
): Promise<number | null> {
  const [row] = await sql.query<{ released: number }>(
    'SELECT released FROM slot_releases WHERE allocation_id = $1::uuid AND run = $2::int',
    [allocationId, run],
  )
  return row?.released ?? null
}

export async function insertRelease(
  sql: Sql,
  release: Carrier & { outcome: string; released: number; at: Date },
): Promise<void> {
  await sql.query(
    `INSERT INTO slot_releases (allocation_id, run, outcome, released, released_at)
     VALUES ($1::uuid, $5::int, $2, $3::int, $4::timestamptz)`,
    [release.allocationId, release.outcome, release.released, release.at, release.run],
  )
}

/** QUARANTINED → FREE. @returns null when it is not quarantined */
export async function restoreSlot(sql: Sql, id: string, now: Date): Promise<SlotRow | null> {
  const [slot] = await sql.query<SlotRow>(
    `UPDATE slots SET state = 'FREE', generation = generation + 1, allocation_id = NULL,
       run = NULL, organization_id = NULL, changed_at = $2::timestamptz
     WHERE id = $1::uuid AND state = 'QUARANTINED' RETURNING ${COLUMNS}`,
    [id, now],
  )
  return slot ?? null
}

export async function slotsOfNodes(sql: Sql, nodeIds: readonly string[]): Promise<SlotRow[]> {
  return sql.query<SlotRow>(
    `SELECT ${COLUMNS} FROM slots WHERE node_id = ANY ($1::uuid[]) ORDER BY node_id, index, id`,
    [nodeIds],
  )
}

/** @param organizationId whose slots; null for all, which is for operators */
export async function slotsById(
  sql: Sql,
  organizationId: string | null,
  ids: readonly string[],
): Promise<SlotRow[]> {
  return sql.query<SlotRow>(
    `SELECT ${COLUMNS} FROM slots
     WHERE id = ANY ($1::uuid[]) AND ($2::uuid IS NULL OR organization_id = $2::uuid)`,
    [ids, organizationId],
  )
}
