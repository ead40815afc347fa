import { setTimeout as sleep } from 'node:timers/promises'
import { pause } from '@berth/platform/abort'
import { createBell, repeat } from '@berth/platform/bell'
import { type Clock, systemClock } from '@berth/platform/clock'
import { fault } from '@berth/platform/fault-points'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { retryAt } from '../domain/backoff.ts'
import { LEASE_SECONDS, type Lease, type Leases } from '../store/leases.ts'
import type { Outcome, Steps } from './steps.ts'

const CONCURRENCY = 8
const REAPED_AT_ONCE = 100
const SWEEP_PAUSES_MS = [500, 1_000, 2_000, 4_000]
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3

export type Worker = {
  /** Ends what is overdue and performs what is due, until nothing is. */
  drain(): Promise<void>
  /** Works until stopped: at once when woken, else every so often. */
  start(options?: { pollSeconds?: number }): void
  /** Something may be due. */
  wake(): void
  /** Claims nothing more, and waits for the steps in flight; what is left runs out with its lease. */
  stop(withinSeconds: number): Promise<void>
}

/**
 * Moves allocations through their states. Any number of workers may run: each step is done under a
 * lease and committed by compare-and-set, and what is overdue is ended whoever holds its lease.
 * Clocks may differ: a lease taken too early costs a repeated step, nothing more.
 */
export function createWorker({
  leases,
  steps,
  log,
  metrics,
  clock = systemClock,
  chance = Math.random,
  renewMs = RENEW_MS,
}: {
  leases: Leases
  steps: Steps
  log: Log
  metrics: Metrics
  clock?: Clock
  chance?: () => number
  renewMs?: number
}): Worker {
  const ended = metrics.counter('berth_allocation_steps_total', 'Steps by state and outcome', [
    'state',
    'outcome',
  ])
  const inFlight = new Set<Promise<void>>()
  const bell = createBell()
  const stopping = new AbortController()
  let loop: Promise<void> | undefined

  return {
    async drain() {
      await reap()
      while ((await begin(CONCURRENCY)) > 0) {
        await Promise.all(inFlight)
        await reap()
      }
    },
    start({ pollSeconds = 1 } = {}) {
      loop ??= repeat({
        work: async () => (await look()) > 0,
        bell,
        pauseSeconds: pollSeconds,
        signal: stopping.signal,
        onError: (err) => log.error({ err }, 'the worker cannot see what is due'),
      })
    },
    wake: bell.ring,
    async stop(withinSeconds) {
      stopping.abort()
      const late = sleep(withinSeconds * 1_000, undefined, { ref: false })
      await Promise.race([loop?.then(() => Promise.all(inFlight)), late])
    },
  }

  async function look(): Promise<number> {
    await reap()
    return begin(CONCURRENCY - inFlight.size)
  }

  async function reap(): Promise<void> {
    for (const { id, state, reason } of await leases.reap(clock.now(), REAPED_AT_ONCE)) {
      log.warn({ allocationId: id, state, reason }, 'a state lasted too long')
    }
  }

  /** @returns how many steps were begun */
  async function begin(limit: number): Promise<number> {
    if (limit <= 0) return 0
    const claimed = await leases.claim(clock.now(), limit)
    await fault('worker:claimed')
    for (const lease of claimed) {
      const step = perform(lease).finally(() => {
        inFlight.delete(step)
        bell.ring()
      })
      inFlight.add(step)
    }
    return claimed.length
  }

  async function perform(lease: Lease): Promise<void> {
    const { allocation } = lease
    const { state } = allocation
    const stepLog = log.child({ allocationId: allocation.id, state, attempt: allocation.attempts })
    const renewal = renewing(lease, stepLog)
    try {
      const outcome = await steps.perform(allocation, clock.now(), renewal.lost)
      await fault('worker:performed')
      renewal.lost.throwIfAborted()
      ended.inc({ state, outcome: await conclude(lease, outcome, stepLog) })
      await fault('worker:committed')
    } catch (error) {
      stepLog.warn({ err: error }, 'a step failed and will be repeated')
      ended.inc({ state, outcome: renewal.lost.aborted ? 'stale' : 'failed' })
      await postpone(lease, stepLog)
    } finally {
      renewal.stop()
    }
  }

  /** Keeps a lease while its step is under way, and says when it is lost: the step is in vain then. */
  function renewing(lease: Lease, stepLog: Log): { lost: AbortSignal; stop: () => void } {
    const lost = new AbortController()
    let renewedAt = performance.now()
    async function renew(): Promise<void> {
      const at = performance.now()
      try {
        if (await leases.renew(lease, clock.now())) renewedAt = at
        else lost.abort(new Error('the lease was lost'))
      } catch (error) {
        stepLog.warn({ err: error }, 'a lease could not be renewed')
        // Somebody else may hold it by now.
        if (at - renewedAt > LEASE_SECONDS * 1_000) lost.abort(error)
      }
    }
    const timer = setInterval(() => void renew(), renewMs)
    return { lost: lost.signal, stop: () => clearInterval(timer) }
  }

  async function conclude(lease: Lease, outcome: Outcome, stepLog: Log): Promise<string> {
    if (outcome.kind === 'again') {
      await postpone(lease, stepLog)
      return 'again'
    }
    const committed =
      outcome.kind === 'settled'
        ? await leases.settle(lease)
        : await leases.commit(lease, outcome.change, clock.now())
    if (committed) {
      stepLog.info({ to: committed === true ? 'settled' : committed.state }, 'a step is done')
      return 'done'
    }
    stepLog.info('the allocation has moved on meanwhile')
    await giveBack(lease, clock.now(), stepLog)
    return 'stale'
  }

  /** The lease runs out by itself if even this fails. */
  async function postpone(lease: Lease, stepLog: Log): Promise<void> {
    const at = retryAt(clock.now(), lease.allocation.attempts, chance())
    await giveBack(lease, at, stepLog).catch((error: unknown) => {
      stepLog.warn({ err: error }, 'a lease could not be given back')
    })
  }

  async function giveBack(lease: Lease, nextAttemptAt: Date, stepLog: Log): Promise<void> {
    if (await leases.postpone(lease, nextAttemptAt)) return
    // Whoever holds it now may have cleaned the node before this step put something there.
    if (lease.allocation.state === 'PROVISIONING') await sweep(lease, stepLog)
  }

  /** An account that was made under a stale lease, when its allocation had ended, must not stay. */
  async function sweep({ allocation }: Lease, stepLog: Log): Promise<void> {
    for (const pauseMs of [...SWEEP_PAUSES_MS, null]) {
      try {
        if (!(await leases.hasEnded(allocation.id))) return
        if (await steps.sweep(allocation)) return
      } catch (error) {
        stepLog.warn({ err: error }, 'what a stale step made could not be taken back')
      }
      if (pauseMs === null || stopping.signal.aborted) break
      await pause(pauseMs, stopping.signal)
    }
    stepLog.error('what a stale step made is left to the reconciliation')
  }
}
