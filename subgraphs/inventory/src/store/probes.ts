import type { Sql } from '@berth/platform/database'
import type { RentableGpu } from '../domain/gpus.ts'
import type { GpuReport } from '../domain/nvidia-smi.ts'
import type { NodeRow } from './nodes.ts'

/** The right to probe a node, until it ends or another takes it over. */
export type ProbeLease = {
  readonly nodeId: string
  readonly token: string
  readonly name: string
  readonly host: string
  readonly port: number
  readonly username: string
  readonly hostKeyFingerprint: string | null
}

const LEASE = `id AS "nodeId", probe_token AS token, name, host, port, username,
  host_key_fingerprint AS "hostKeyFingerprint"`

/** Leases of nodes that are due and that nobody probes. */
export async function leaseDue(
  sql: Sql,
  { now, until, limit }: { now: Date; until: Date; limit: number },
): Promise<ProbeLease[]> {
  return sql.query<ProbeLease>(
    `UPDATE nodes SET probe_token = gen_random_uuid(), probe_leased_until = $2::timestamptz
     WHERE id IN (
       SELECT id FROM nodes
       WHERE state <> 'RETIRED' AND probe_due_at <= $1::timestamptz
         AND (probe_leased_until IS NULL OR probe_leased_until <= $1::timestamptz)
       ORDER BY probe_due_at LIMIT $3::int FOR NO KEY UPDATE SKIP LOCKED
     )
     RETURNING ${LEASE}`,
    [now, until, limit],
  )
}

/** A lease of this node, due or not. @returns null while another probes it */
export async function leaseNode(
  sql: Sql,
  { nodeId, now, until }: { nodeId: string; now: Date; until: Date },
): Promise<ProbeLease | null> {
  const [lease] = await sql.query<ProbeLease>(
    `UPDATE nodes SET probe_token = gen_random_uuid(), probe_leased_until = $3::timestamptz
     WHERE id = $1::uuid AND state <> 'RETIRED'
       AND (probe_leased_until IS NULL OR probe_leased_until <= $2::timestamptz)
     RETURNING ${LEASE}`,
    [nodeId, now, until],
  )
  return lease ?? null
}

/** Whether nobody has taken the lease over: else nothing of its probe may be written. */
export async function holdsLease(
  sql: Sql,
  { nodeId, token }: Pick<ProbeLease, 'nodeId' | 'token'>,
): Promise<boolean> {
  const rows = await sql.query('SELECT FROM nodes WHERE id = $1::uuid AND probe_token = $2::uuid', [
    nodeId,
    token,
  ])
  return rows.length === 1
}

/** Ends a lease, if it is still held, and says when the node is due again. */
export async function endLease(
  sql: Sql,
  { nodeId, token }: Pick<ProbeLease, 'nodeId' | 'token'>,
  dueAt: Date,
): Promise<void> {
  await sql.query(
    `UPDATE nodes SET probe_token = NULL, probe_leased_until = NULL, probe_due_at = $3::timestamptz
     WHERE id = $1::uuid AND probe_token = $2::uuid`,
    [nodeId, token, dueAt],
  )
}

/** Pins the host key of a node that has none pinned. */
export async function pinHostKey(sql: Sql, nodeId: string, fingerprint: string): Promise<void> {
  await sql.query(
    `UPDATE nodes SET host_key_fingerprint = $2
     WHERE id = $1::uuid AND host_key_fingerprint IS NULL`,
    [nodeId, fingerprint],
  )
}

/**
 * Makes slots of GPUs that are new, and moves those that are listed elsewhere now.
 *
 * @returns those of the GPUs that are slots of another node
 */
export async function upsertSlots(
  sql: Sql,
  node: Pick<NodeRow, 'id'>,
  gpus: readonly (RentableGpu & { slotId: string })[],
  now: Date,
): Promise<string[]> {
  const rows = await sql.query<{ gpuUuid: string }>(
    `INSERT INTO slots (id, node_id, index, gpu_uuid, gpu_model_code, changed_at)
     SELECT gpu.id, $1::uuid, gpu.index, gpu.uuid, gpu.model, $6::timestamptz
     FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[]) AS gpu (id, index, uuid, model)
     ON CONFLICT (gpu_uuid) DO UPDATE SET index = excluded.index
       WHERE slots.node_id = excluded.node_id
     RETURNING gpu_uuid AS "gpuUuid"`,
    [
      node.id,
      gpus.map((it) => it.slotId),
      gpus.map((it) => it.index),
      gpus.map((it) => it.gpuUuid),
      gpus.map((it) => it.gpuModelCode),
      now,
    ],
  )
  const own = new Set(rows.map((it) => it.gpuUuid))
  return gpus.map((it) => it.gpuUuid).filter((uuid) => !own.has(uuid))
}

/**
 * FREE → QUARANTINED for the node's slots whose GPU is not among these.
 *
 * @returns how many of its slots have no such GPU, free or not
 */
export async function quarantineMissing(
  sql: Sql,
  nodeId: string,
  present: readonly string[],
  now: Date,
): Promise<number> {
  await sql.query(
    `UPDATE slots SET state = 'QUARANTINED', generation = generation + 1,
       changed_at = $3::timestamptz
     WHERE node_id = $1::uuid AND state = 'FREE' AND gpu_uuid <> ALL ($2::text[])`,
    [nodeId, present, now],
  )
  const missing = await sql.query(
    'SELECT FROM slots WHERE node_id = $1::uuid AND gpu_uuid <> ALL ($2::text[])',
    [nodeId, present],
  )
  return missing.length
}

export type ProbeRow = {
  readonly id: string
  readonly nodeId: string
  readonly at: Date
  readonly ok: boolean
  readonly latencyMs: number | null
  readonly gpuCount: number
  readonly problem: string | null
}

export async function insertProbe(
  sql: Sql,
  probe: ProbeRow & { gpus: readonly GpuReport[] },
): Promise<void> {
  await sql.query(
    `INSERT INTO probes (id, node_id, at, ok, latency_ms, gpu_count, problem, gpus)
     VALUES ($1::uuid, $2::uuid, $3::timestamptz, $4::boolean, $5::int, $6::int, $7, $8::jsonb)`,
    [
      probe.id,
      probe.nodeId,
      probe.at,
      probe.ok,
      probe.latencyMs,
      probe.gpuCount,
      probe.problem,
      JSON.stringify(probe.gpus),
    ],
  )
}

/** The latest probe of each of these nodes that has one. */
export async function latestProbes(sql: Sql, nodeIds: readonly string[]): Promise<ProbeRow[]> {
  return sql.query<ProbeRow>(
    `SELECT probe.* FROM unnest($1::uuid[]) AS node (id) CROSS JOIN LATERAL (
       SELECT id, node_id AS "nodeId", at, ok, latency_ms AS "latencyMs",
         gpu_count AS "gpuCount", problem
       FROM probes WHERE node_id = node.id ORDER BY probes.id DESC LIMIT 1
     ) AS probe`,
    [nodeIds],
  )
}

/** Drops what is older than these instants. */
export async function prune(sql: Sql, before: { probes: Date; releases: Date }): Promise<void> {
  await sql.query('DELETE FROM probes WHERE at < $1::timestamptz', [before.probes])
  await sql.query('DELETE FROM slot_releases WHERE released_at < $1::timestamptz', [
    before.releases,
  ])
}
