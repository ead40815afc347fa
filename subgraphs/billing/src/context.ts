import { type Actor, OPERATOR_ROLE } from '@berth/platform/actor'
import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import { idToUuid } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { Micros } from '@berth/platform/money'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { Reads } from './service/reads.ts'
import { entriesById, type LedgerEntryRow } from './store/ledger.ts'
import { type Price, pricesAt } from './store/prices.ts'
import { costOf, type UsageRow, usageById } from './store/usage.ts'

export type Context = SubgraphRequest & {
  readonly policy: PolicyClient
  readonly reads: Reads
  readonly load: Loaders
}

/** By uuid or code, batched, and only what the actor's organization may see. */
export type Loaders = {
  usageRecord(id: string): Promise<UsageRow | null>
  ledgerEntry(id: string): Promise<LedgerEntryRow | null>
  allocationCost(allocationId: string): Promise<Micros | null>
  price(gpuModel: string): Promise<Price | null>
}

export function createLoaders({
  database,
  clock,
  currency,
  actor,
}: {
  database: Pick<Database, 'sql'>
  clock: Clock
  currency: string
  actor: Actor
}): Loaders {
  const { sql } = database
  const organizationId = uuidOfOrganization(actor)
  const ofTenant = <Row extends { id: string }>(
    read: (sql: Sql, organizationId: string, ids: readonly string[]) => Promise<Row[]>,
  ) =>
    createLoader<string, Row>(async (ids) => {
      if (organizationId === null) return new Map()
      return new Map((await read(sql, organizationId, ids)).map((row) => [row.id, row]))
    })
  return {
    usageRecord: ofTenant(usageById),
    ledgerEntry: ofTenant(entriesById),
    allocationCost: createLoader(async (ids) => {
      if (actor.roles.includes(OPERATOR_ROLE)) return costOf(sql, null, ids, currency)
      return organizationId === null ? new Map() : costOf(sql, organizationId, ids, currency)
    }),
    price: createLoader((codes) => pricesAt(sql, codes, currency, clock.now())),
  }
}

function uuidOfOrganization(actor: Actor): string | null {
  return actor.organizationId === null ? null : idToUuid(actor.organizationId)
}
