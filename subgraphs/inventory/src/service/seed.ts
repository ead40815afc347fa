import type { Sql } from '@berth/platform/database'
import { insertNode, lockNode } from '../store/nodes.ts'
import { findNode, insertRegion, moveNode } from '../store/seed.ts'
import { changeStanding, tellEnrolled } from './standing.ts'

export const REGION = { code: 'local', name: 'This machine' }
export const NODE_NAME = 'development'

/**
 * The region `local`, and the development node if there is one; again, it changes nothing. A node
 * at another address than before is another machine: it is enrolled anew, and its host key pinned
 * at its next probe.
 */
export async function seedDevelopment(
  sql: Sql,
  seed: {
    id: string
    now: Date
    node: { host: string; port: number } | null
    username: string
  },
): Promise<void> {
  await insertRegion(sql, REGION)
  if (!seed.node) return
  const at = { ...seed.node, username: seed.username }
  const known = await findNode(sql, NODE_NAME)
  if (!known) {
    const node = await insertNode(sql, {
      ...at,
      id: seed.id,
      name: NODE_NAME,
      regionCode: REGION.code,
      hostKeyFingerprint: null,
      createdAt: seed.now,
    })
    if (node) await tellEnrolled(sql, node)
    return
  }
  const node = await lockNode(sql, known)
  if (!node) return
  const isThere = node.host === at.host && node.port === at.port && node.username === at.username
  if (isThere) return
  await changeStanding(sql, node, { state: 'ENROLLING', health: 'WARNING', misses: 0 }, seed.now)
  await moveNode(sql, node.id, at, seed.now)
}
