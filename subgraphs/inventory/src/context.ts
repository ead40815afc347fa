import type { Actor } from '@berth/platform/actor'
import type { Database } from '@berth/platform/database'
import { idToUuid } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { Nodes } from './service/nodes.ts'
import type { Reads } from './service/reads.ts'
import { type NodeRow, nodesById } from './store/nodes.ts'
import {
  type GpuModelRow,
  listGpuModels,
  listOffers,
  type OfferRow,
  type RegionRow,
  regionsByCode,
} from './store/offers.ts'
import { latestProbes, type ProbeRow } from './store/probes.ts'
import { type SlotRow, slotsById, slotsOfNodes } from './store/slots.ts'

export type Context = SubgraphRequest & {
  readonly policy: PolicyClient
  readonly nodes: Nodes
  readonly reads: Reads
  readonly load: Loaders
}

/** By uuid or code, batched. Nodes are for who may read them; a slot is also for who holds it. */
export type Loaders = {
  gpuModel(code: string): Promise<GpuModelRow | null>
  region(code: string): Promise<RegionRow | null>
  offer(id: string): Promise<OfferRow | null>
  node(id: string): Promise<NodeRow | null>
  slot(id: string): Promise<SlotRow | null>
  slotsOf(nodeId: string): Promise<SlotRow[] | null>
  lastProbe(nodeId: string): Promise<ProbeRow | null>
}

export function createLoaders({
  database: { sql },
  policy,
  actor,
}: {
  database: Pick<Database, 'sql'>
  policy: Pick<PolicyClient, 'can'>
  actor: Actor
}): Loaders {
  // What the rules ask of the fields, asked of the rows: a reference is loaded before any rule.
  const readsNodes = () => policy.can(actor, 'node:read')
  const organizationId = actor.organizationId && idToUuid(actor.organizationId)
  return {
    gpuModel: createLoader(async () => by(await listGpuModels(sql), (it) => it.code)),
    region: createLoader(async (codes) => by(await regionsByCode(sql, codes), (it) => it.code)),
    offer: createLoader(async () =>
      by<OfferRow>(await listOffers(sql, {}, { take: null, after: null }), (it) => it.id),
    ),
    node: createLoader(async (ids) =>
      (await readsNodes()) ? by(await nodesById(sql, ids), (it) => it.id) : new Map(),
    ),
    slot: createLoader(async (ids) => {
      if (await readsNodes()) return by(await slotsById(sql, null, ids), (it) => it.id)
      return organizationId === null
        ? new Map()
        : by(await slotsById(sql, organizationId, ids), (it) => it.id)
    }),
    slotsOf: createLoader(async (ids) =>
      (await readsNodes())
        ? Map.groupBy(await slotsOfNodes(sql, ids), (it) => it.nodeId)
        : new Map(),
    ),
    lastProbe: createLoader(async (ids) =>
      (await readsNodes()) ? by(await latestProbes(sql, ids), (it) => it.nodeId) : new Map(),
    ),
  }
}

function by<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Map<string, Row> {
  return new Map(rows.map((row) => [keyOf(row), row]))
}
