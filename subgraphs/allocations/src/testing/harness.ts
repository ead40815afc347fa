import { type Actor, createActor } from '@berth/platform/actor'
import { fakeClock } from '@berth/platform/clock'
import { createCommandClient } from '@berth/platform/commands'
import { createCursors } from '@berth/platform/cursor'
import { openDatabase } from '@berth/platform/database'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import { testDatabase, testKeys } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { PrismaClient } from '@berth/prisma/allocations'
import { createMemoryNodes } from '../driver/memory.ts'
import type { Allocation } from '../model.ts'
import { createAllocation } from '../service/create.ts'
import type { Asked, Ports } from '../service/ports.ts'
import { createAllocationStore } from '../store/allocations.ts'
import { createLeases } from '../store/leases.ts'
import { createNodeStore } from '../store/nodes.ts'
import { createTerminalStore } from '../store/terminals.ts'
import { createUpstream } from '../upstream.ts'
import { createReconciliation } from '../worker/reconcile.ts'
import { createSteps } from '../worker/steps.ts'
import { createWorker, type Worker } from '../worker/worker.ts'
import { startNeighbours } from './neighbours.ts'

export const SERVICES = ['gateway', 'terminal', 'allocations', 'inventory', 'billing', 'policy']

/** The trace that `member` asks in. */
export const TRACE = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`

export type Harness = Awaited<ReturnType<typeof openHarness>>

/** The service's inside on a real database, with time that stands still and neighbours on the wire. */
export async function openHarness(scope: AsyncDisposableStack) {
  const keys = scope.use(testKeys(SERVICES))
  const testDb = scope.use(await testDatabase('allocations'))
  const database = scope.adopt(
    openDatabase({
      url: testDb.appUrl,
      schema: 'allocations',
      client: (adapter) => new PrismaClient({ adapter }),
    }),
    (it) => it.close(),
  )
  const neighbours = scope.use(await startNeighbours(keys))
  const clock = fakeClock()
  const log = createLog({ service: 'allocations', instance: 'test', level: 'silent' })
  const metrics = createMetrics({ service: 'allocations' })
  const { privateJwk, cursorKey } = loadKeys(keys.dir, 'allocations')
  const peers = scope.adopt(createPeers(neighbours.peers), (it) => it.close())
  const commands = createCommandClient({ service: 'allocations', privateJwk, peers, metrics })
  const allocations = createAllocationStore(database)
  const upstream = createUpstream(commands)
  const driver = createMemoryNodes()
  const leases = createLeases(database)

  const ports: Ports = {
    database,
    allocations,
    terminals: createTerminalStore(database),
    cursors: createCursors(cursorKey),
    hints: { subscribe: () => () => undefined },
    tokens: { mint: async () => 'token' },
    clock,
    wake: () => undefined,
    terminalUrl: 'ws://terminal.test',
    allowedOrigins: ['https://console.test'],
    reservationSeconds: 0,
    policy: { decide: () => true },
    gpuQuota: async () => 1_000,
    terminalRate: async () => undefined,
  }

  /** A worker as another replica has it. */
  function newWorker(options: { renewMs?: number } = {}): Worker {
    const steps = createSteps({ upstream, driver, publicKeys: allocations.publicKeys })
    return createWorker({ leases, steps, log, metrics, clock, ...options })
  }

  /** A round of the reconciliation, as another replica does it. */
  function newReconciliation() {
    const nodes = createNodeStore(database)
    const quiet = createMetrics({ service: 'allocations' })
    return createReconciliation({ nodes, driver, log, metrics: quiet, clock })
  }

  async function create(asked: Asked, gpuCount = 1): Promise<Allocation> {
    return createAllocation(ports, asked, { name: 'job', gpuModel: 'a100-sxm4-80gb', gpuCount })
  }

  async function read({ id, organizationId }: Pick<Allocation, 'id' | 'organizationId'>) {
    const allocation = await allocations.find(organizationId, id)
    if (!allocation) throw new Error(`${id} is not there`)
    return allocation
  }

  /** When there is next something to do; null when nothing is left to be done. */
  async function nextDueAt(): Promise<Date | null> {
    const [row] = await database.sql.query<{ at: Date | null }>(
      `SELECT least(min(greatest(next_attempt_at, coalesce(lease_until, next_attempt_at))), min(state_deadline_at)) AS at
       FROM allocations WHERE next_attempt_at IS NOT NULL`,
    )
    return row?.at ?? null
  }

  /** Lets time pass and new workers work until nothing is left to be done. */
  async function settle(): Promise<void> {
    for (let rounds = 0; rounds < 200; rounds++) {
      await newWorker().drain()
      const dueAt = await nextDueAt()
      if (!dueAt) return
      clock.advance(Math.max(0, (dueAt.getTime() - clock.now().getTime()) / 1_000))
    }
    throw new Error('it does not come to rest')
  }

  async function eventsOf({ id }: Pick<Allocation, 'id'>) {
    return database.sql.query<{ sequence: number; state: string; published: string }>(
      `SELECT event.sequence, event.state, outbox.envelope ->> 'type' AS published
       FROM allocation_events AS event LEFT JOIN outbox ON outbox.id = event.id AND outbox.aggregate_seq = event.sequence
       WHERE event.allocation_id = $1::uuid ORDER BY event.sequence`,
      [idToUuid(id)],
    )
  }

  return {
    database,
    neighbours,
    clock,
    driver,
    leases,
    ports,
    adminUrl: testDb.adminUrl,
    newWorker,
    newReconciliation,
    create,
    read,
    nextDueAt,
    settle,
    eventsOf,
  }
}

/** A member of an organization, asking. */
export function member(
  organizationId: Id<'org'> = newId('org'),
  {
    idempotencyKey = newId('cmd'),
    subject = newId('usr'),
  }: { idempotencyKey?: string | null; subject?: Id<'usr'> } = {},
): Asked & { actor: Actor } {
  const actor = createActor({ kind: 'person', subject, organizationId, roles: ['member'] })
  return { actor, requestId: 'request-1', traceparent: TRACE, idempotencyKey }
}
