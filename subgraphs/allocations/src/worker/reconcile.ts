import type { Clock } from '@berth/platform/clock'
import type { Id } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { after } from '../domain/advance.ts'
import type { Driver } from '../driver/port.ts'
import type { NodeStore } from '../store/nodes.ts'

/** For how long a node is looked at after the last allocation on it ended. */
const LOOKED_AT_SECONDS = 7 * 86_400
const LANES = 4

/**
 * Compares what stands on nodes with what should, and takes the rest away: the last line behind the
 * worker, for what a step left there after its allocation had been given up.
 *
 * @returns one round: false when another replica is at it
 */
export function createReconciliation({
  nodes,
  driver,
  log,
  metrics,
  clock,
}: {
  nodes: NodeStore
  driver: Pick<Driver, 'list' | 'clean'>
  log: Log
  metrics: Metrics
  clock: Clock
}): (signal?: AbortSignal) => Promise<boolean> {
  const found = metrics.counter(
    'berth_allocation_strays_total',
    'Allocations found on nodes that should not carry them, by outcome',
    ['outcome'],
  )
  return (signal) =>
    nodes.alone(async () => {
      const used = await nodes.used(after(clock.now(), -LOOKED_AT_SECONDS))
      async function lane(): Promise<void> {
        for (let nodeId = used.shift(); nodeId && !signal?.aborted; nodeId = used.shift()) {
          await reconcile(nodeId, signal)
        }
      }
      await Promise.all(Array.from({ length: LANES }, lane))
    })

  async function reconcile(nodeId: Id<'nod'>, signal?: AbortSignal): Promise<void> {
    const call = signal ? { signal } : {}
    try {
      // The node first: what is made there later is in the records when they are read.
      const listed = await driver.list(nodeId, call)
      for (const allocationId of await nodes.strays(nodeId, listed)) {
        if (signal?.aborted) return
        // One that cannot be cleaned does not keep the others.
        const isClean = await driver.clean({ allocationId, nodeId }, call).catch((err: unknown) => {
          log.warn({ err, nodeId, allocationId }, 'a stray could not be cleaned')
          return false
        })
        found.inc({ outcome: isClean ? 'cleaned' : 'unconfirmed' })
        log.warn({ nodeId, allocationId, isClean }, 'a node carried what it should not')
      }
    } catch (error) {
      if (!signal?.aborted) log.warn({ err: error, nodeId }, 'a node could not be reconciled')
    }
  }
}
