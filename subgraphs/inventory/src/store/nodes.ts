import type { Sql } from '@berth/platform/database'
import type { NodeHealth, NodeStanding, NodeState } from '../domain/node.ts'

export type NodeRow = {
  readonly id: string
  readonly name: string
  readonly regionCode: string
  readonly host: string
  readonly port: number
  readonly username: string
  readonly state: NodeState
  readonly health: NodeHealth
  readonly hostKeyFingerprint: string | null
  readonly misses: number
  readonly createdAt: Date
}

const COLUMNS = `id, name, region_code AS "regionCode", host, port, username, state, health,
  host_key_fingerprint AS "hostKeyFingerprint", misses, created_at AS "createdAt"`

export type NewNode = Pick<
  NodeRow,
  'id' | 'name' | 'regionCode' | 'host' | 'port' | 'username' | 'hostKeyFingerprint' | 'createdAt'
>

/** ENROLLING, and to be probed at once. @returns null when the name or the address is taken */
export async function insertNode(sql: Sql, node: NewNode): Promise<NodeRow | null> {
  const [row] = await sql.query<NodeRow>(
    `INSERT INTO nodes (id, name, region_code, host, port, username, host_key_fingerprint,
       probe_due_at, created_at)
     VALUES ($1::uuid, $2, $3, $4, $5::int, $6, $7, $8::timestamptz, $8::timestamptz)
     ON CONFLICT DO NOTHING RETURNING ${COLUMNS}`,
    [
      node.id,
      node.name,
      node.regionCode,
      node.host,
      node.port,
      node.username,
      node.hostKeyFingerprint,
      node.createdAt,
    ],
  )
  return row ?? null
}

export async function readNode(sql: Sql, id: string): Promise<NodeRow | null> {
  const [node] = await nodesById(sql, [id])
  return node ?? null
}

export async function nodesById(sql: Sql, ids: readonly string[]): Promise<NodeRow[]> {
  return sql.query<NodeRow>(`SELECT ${COLUMNS} FROM nodes WHERE id = ANY ($1::uuid[])`, [ids])
}

/** Newest first, after this node's id. */
export async function listNodes(
  sql: Sql,
  page: { take: number; after: string | null },
): Promise<NodeRow[]> {
  return sql.query<NodeRow>(
    `SELECT ${COLUMNS} FROM nodes WHERE $1::uuid IS NULL OR id < $1::uuid
     ORDER BY id DESC LIMIT $2::int`,
    [page.after, page.take],
  )
}

/**
 * Locks the node: its standing changes and its free slots are taken under this lock only. Slots are
 * given back and restored without it: meanwhile more may become free, but never fewer.
 */
export async function lockNode(sql: Sql, id: string): Promise<NodeRow | null> {
  const [node] = await sql.query<NodeRow>(
    `SELECT ${COLUMNS} FROM nodes WHERE id = $1::uuid FOR NO KEY UPDATE`,
    [id],
  )
  return node ?? null
}

/**
 * Writes where a locked node stands.
 *
 * @param isTold whether an event tells of it, which then takes the next number
 * @returns the number of its latest event
 */
export async function setStanding(
  sql: Sql,
  id: string,
  { state, health, misses }: NodeStanding,
  isTold: boolean,
): Promise<bigint> {
  const [row] = await sql.query<{ eventSeq: bigint }>(
    `UPDATE nodes SET state = $2, health = $3, misses = $4::int,
       event_seq = event_seq + CASE WHEN $5::boolean THEN 1 ELSE 0 END
     WHERE id = $1::uuid RETURNING event_seq AS "eventSeq"`,
    [id, state, health, misses, isTold],
  )
  if (!row) throw new Error(`there is no node ${id}`)
  return row.eventSeq
}
