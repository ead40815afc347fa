import { type FakeClock, fakeClock } from '@berth/platform/clock'
import { type Database, openDatabase, type Sql } from '@berth/platform/database'
import { newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { type TestDatabase, testDatabase } from '@berth/platform/test-kit/index'
import { PrismaClient } from '@berth/prisma/inventory'
import pg from 'pg'
import { createSlots, type Slots } from './service/slots.ts'
import type { SlotRow } from './store/slots.ts'

export const MODEL = 'a100-sxm4-80gb'
export const FINGERPRINT = `SHA256:${'a'.repeat(43)}`

export type Replica = { database: Database<PrismaClient>; slots: Slots }

export type Fixture = AsyncDisposable & {
  kit: TestDatabase
  clock: FakeClock
  /** Two of the service, on pools of their own. */
  replicas: readonly [Replica, Replica]
  sql: Sql
  /** A READY node with that many free slots. @returns its id */
  node(gpus: number, given?: { isIsolated?: boolean; region?: string }): Promise<string>
  slots(nodeId?: string): Promise<SlotRow[]>
  /** Empties the fleet. */
  clear(): Promise<void>
  /** As nobody in production is. */
  asAdmin(text: string, values?: unknown[]): Promise<void>
}

/** @param given a database that another disposes of; one of its own otherwise */
export async function openFixture(given?: TestDatabase): Promise<Fixture> {
  const kit = given ?? (await testDatabase('inventory'))
  const clock = fakeClock('2026-11-10T12:00:00.000Z')
  const open = (): Replica => {
    const database = openDatabase({
      url: kit.appUrl,
      schema: 'inventory',
      client: (adapter) => new PrismaClient({ adapter }),
    })
    return { database, slots: createSlots({ database, clock }) }
  }
  const replicas = [open(), open()] as const
  const { sql } = replicas[0].database
  for (const code of ['eu-1', 'us-1']) {
    await sql.query('INSERT INTO regions (code, name) VALUES ($1, $1)', [code])
  }
  return {
    kit,
    clock,
    replicas,
    sql,
    async node(gpus, { isIsolated = true, region = 'eu-1' } = {}) {
      const id = newUuid()
      await sql.query(
        `INSERT INTO nodes (id, name, region_code, host, port, username, state, health, is_isolated,
           host_key_fingerprint, probe_due_at, created_at)
         VALUES ($1::uuid, $2, $3, $4, 22, 'berth', 'READY', 'HEALTHY', $5::boolean, $6,
           'infinity', $7::timestamptz)`,
        [id, `n-${id.slice(0, 30)}`, region, `${id}.example`, isIsolated, FINGERPRINT, clock.now()],
      )
      for (let index = 0; index < gpus; index++) {
        await sql.query(
          `INSERT INTO slots (id, node_id, index, gpu_uuid, gpu_model_code, changed_at)
           VALUES ($1::uuid, $2::uuid, $3::int, $4, $5, $6::timestamptz)`,
          [newUuid(), id, index, `GPU-${newUuid()}`, MODEL, clock.now()],
        )
      }
      return id
    },
    slots: (nodeId) =>
      sql.query<SlotRow>(
        `SELECT id, node_id AS "nodeId", index, gpu_uuid AS "gpuUuid",
           gpu_model_code AS "gpuModelCode", state, generation, allocation_id AS "allocationId", run,
           organization_id AS "organizationId"
         FROM slots WHERE $1::uuid IS NULL OR node_id = $1::uuid ORDER BY node_id, index`,
        [nodeId ?? null],
      ),
    clear: () => asAdmin('TRUNCATE nodes, slots, slot_releases, probes, outbox, audit_events'),
    asAdmin,
    async [Symbol.asyncDispose]() {
      await Promise.all(replicas.map(({ database }) => database.close()))
      if (!given) await kit.drop()
    },
  }

  async function asAdmin(text: string, values: unknown[] = []): Promise<void> {
    const admin = new pg.Client({
      connectionString: kit.adminUrl,
      options: '-c search_path=inventory',
    })
    await admin.connect()
    try {
      await admin.query(text, values)
    } finally {
      await admin.end()
    }
  }
}

export const silent = createLog({
  service: 'inventory',
  instance: 'inventory-test',
  level: 'silent',
})
