import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { fault } from '@berth/platform/fault-points'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import { rentableGpus } from '../domain/gpus.ts'
import {
  afterAnswer,
  afterMiss,
  type NodeStanding,
  type Problem,
  secondsToNextProbe,
} from '../domain/node.ts'
import { type NodeProbe, ProbeNotMade, type ProbeResult } from '../probe.ts'
import { lockNode, type NodeRow, readNode } from '../store/nodes.ts'
import { listGpuModels } from '../store/offers.ts'
import {
  endLease,
  holdsLease,
  insertProbe,
  leaseDue,
  leaseNode,
  type ProbeLease,
  pinHostKey,
  prune,
  quarantineMissing,
  upsertSlots,
} from '../store/probes.ts'
import { changeStanding } from './standing.ts'

export type ProbingDeps = {
  database: Pick<Database, 'sql' | 'sqlTransaction'>
  clock: Clock
  log: Log
  probe: NodeProbe
  /** Between two probes of a node. */
  everySeconds: number
}

export type Probing = {
  /** Probes the nodes that are due; replicas share them. @returns how many */
  tick(): Promise<number>
  /**
   * Probes a node now, or waits for the probe under way.
   *
   * @returns the node after it
   * @throws {DomainError} NOT_FOUND; UNAVAILABLE when it could not be asked; TIMEOUT when another
   *   probe of it does not end
   */
  probeNow(nodeId: string): Promise<NodeRow>
  /** Forgets probes and given-back allocations that are older than anybody asks for. */
  prune(): Promise<void>
}

/** Longer than the longest probe. */
const LEASE_SECONDS = 60
const RETRY_SECONDS = 2
const NODES_AT_ONCE = 4
const PROBES_KEPT_DAYS = 7
const RELEASES_KEPT_DAYS = 30

export function createProbing(deps: ProbingDeps): Probing {
  const { database, clock, log } = deps

  async function run(lease: ProbeLease): Promise<'recorded' | 'not made'> {
    const result = await deps.probe.probe(lease).catch((error: unknown) => {
      const cause = error instanceof ProbeNotMade ? error.cause : error
      log.warn({ err: cause, node: lease.name }, 'a node could not be probed')
      return null
    })
    await fault('inventory.probe.made')
    if (result) await database.sqlTransaction((sql) => record(sql, deps, lease, result))
    else await endLease(database.sql, lease, after(clock, RETRY_SECONDS))
    return result ? 'recorded' : 'not made'
  }

  return {
    async tick() {
      const now = clock.now()
      const until = after(clock, LEASE_SECONDS)
      const leases = await leaseDue(database.sql, { now, until, limit: NODES_AT_ONCE })
      await Promise.all(leases.map(run))
      return leases.length
    },
    async probeNow(nodeId) {
      const deadline = performance.now() + LEASE_SECONDS * 1_000
      let outcome: Awaited<ReturnType<typeof run>> | undefined
      while (outcome === undefined) {
        const now = clock.now()
        const until = after(clock, LEASE_SECONDS)
        const lease = await leaseNode(database.sql, { nodeId, now, until })
        if (lease) outcome = await run(lease)
        else {
          if (!(await readNode(database.sql, nodeId))) throw noNode()
          if (performance.now() > deadline) {
            throw new DomainError('TIMEOUT', 'Another probe of this node does not end: try again')
          }
          await delay(100)
        }
      }
      if (outcome === 'not made') {
        throw new DomainError('UNAVAILABLE', 'The node could not be asked now: try again')
      }
      const node = await readNode(database.sql, nodeId)
      if (!node) throw noNode()
      return node
    },
    async prune() {
      await prune(database.sql, {
        probes: after(clock, -PROBES_KEPT_DAYS * 86_400),
        releases: after(clock, -RELEASES_KEPT_DAYS * 86_400),
      })
    },
  }
}

/** Writes what a probe found, unless another probe has taken the node over meanwhile. */
async function record(
  sql: Sql,
  { clock, everySeconds }: ProbingDeps,
  lease: ProbeLease,
  result: ProbeResult,
): Promise<void> {
  const node = await lockNode(sql, lease.nodeId)
  const isCurrent = node && (await holdsLease(sql, lease))
  if (!isCurrent) return
  const now = clock.now()
  const { standing, problems } = await judge(sql, node, result, now)
  await endLease(sql, lease, after(clock, secondsToNextProbe(standing, everySeconds)))
  await insertProbe(sql, {
    id: newUuid(),
    nodeId: node.id,
    at: now,
    ok: result.ok && !problems.includes('HOST_KEY_CHANGED'),
    latencyMs: result.latencyMs,
    gpuCount: result.ok ? result.report.gpus.length : 0,
    problem: problems.length > 0 ? problems.join(' ') : null,
    gpus: result.ok ? result.report.gpus : [],
  })
  await fault('inventory.probe.recorded')
  await changeStanding(sql, node, standing, now)
}

async function judge(
  sql: Sql,
  node: NodeRow,
  result: ProbeResult,
  now: Date,
): Promise<{ standing: NodeStanding; problems: Problem[] }> {
  if (!result.ok) {
    return { standing: afterMiss(node, result.problem), problems: [result.problem] }
  }
  const pinned = node.hostKeyFingerprint ?? result.hostKeyFingerprint
  if (pinned !== result.hostKeyFingerprint) {
    return {
      standing: afterMiss(node, 'HOST_KEY_CHANGED'),
      problems: ['HOST_KEY_CHANGED'],
    }
  }
  await pinHostKey(sql, node.id, pinned)
  const { rentable, problems } = rentableGpus(result.report, await listGpuModels(sql))
  const named = rentable.map((gpu) => ({ ...gpu, slotId: newUuid() }))
  const elsewhere = await upsertSlots(sql, node, named, now)
  const present = rentable.map((gpu) => gpu.gpuUuid)
  const missing = await quarantineMissing(sql, node.id, present, now)
  if (elsewhere.length > 0) problems.push('GPU_ON_ANOTHER_NODE')
  if (missing > 0) problems.push('GPU_MISSING')
  const usable = rentable.length - elsewhere.length
  return { standing: afterAnswer(node, usable, problems.length > 0), problems }
}

function after(clock: Clock, seconds: number): Date {
  return new Date(clock.now().getTime() + seconds * 1_000)
}

function noNode(): DomainError {
  return new DomainError('NOT_FOUND', 'There is no such node')
}
