import type { Sql } from '@berth/platform/database'
import { appendEvent } from '@berth/platform/outbox'
import { nodeChanged } from '@berth/schema/events/inventory'
import type { NodeStanding } from '../domain/node.ts'
import { type NodeRow, setStanding } from '../store/nodes.ts'

/**
 * Writes where a node stands from now on, and tells of it when its state or health is another. The
 * node's row is locked by the caller.
 */
export async function changeStanding(
  sql: Sql,
  node: NodeRow,
  standing: NodeStanding,
  occurredAt: Date,
): Promise<void> {
  const { state, health, misses } = standing
  const isTold = state !== node.state || health !== node.health
  if (!isTold && misses === node.misses) return
  const aggregateSeq = await setStanding(sql, node.id, standing, isTold)
  if (isTold) await tell(sql, node.id, aggregateSeq, standing, occurredAt)
}

/** Tells of a node for the first time. */
export async function tellEnrolled(sql: Sql, node: NodeRow): Promise<void> {
  const aggregateSeq = await setStanding(sql, node.id, node, true)
  await tell(sql, node.id, aggregateSeq, node, node.createdAt)
}

async function tell(
  sql: Sql,
  nodeId: string,
  aggregateSeq: bigint,
  { state, health }: NodeStanding,
  occurredAt: Date,
): Promise<void> {
  await appendEvent(sql, nodeChanged, {
    aggregateId: nodeId,
    aggregateSeq,
    organizationId: null,
    occurredAt,
    data: { state, health },
  })
}
