import { createBell, repeat } from './bell.ts'
import { outboxNotification } from './outbox.ts'
import type { Hints } from './pubsub.ts'
import { type Leadership, takeLead } from './relay-leader.ts'
import { assignPositions, hintPositions } from './relay-positions.ts'
import { createPublisher, type PublisherOptions } from './relay-publisher.ts'
import { sweep } from './retention.ts'

export type RelayOptions = PublisherOptions & {
  /** Told of new positions, on `outboxChannel`. */
  hints?: Hints
  /** Ends it. */
  scope: AsyncDisposableStack
  /** How late a lost notification makes an event, and a dead leader its successor. */
  pollSeconds?: number
}

const SWEEP_SECONDS = 3_600

/**
 * Gives the rows of the outbox their positions, then publishes them: one leader per domain over all
 * replicas, while the others stand by. Goes on through the death of anything it needs, since all it
 * knows is in Postgres. A message may be published twice with the same id, but is never left out,
 * and never comes before an earlier one.
 */
export function startRelay(options: RelayOptions): void {
  const { database, domain, hints, log, metrics, scope, pollSeconds = 1 } = options
  const stopping = new AbortController()
  const office = { name: 'relay', channel: outboxNotification(database.schema) }
  const isLeader = metrics.gauge('berth_relay_leader', 'Whether this replica relays', ['domain'])
  const failures = metrics.counter('berth_relay_failures_total', 'Failed steps of the relay', [
    'domain',
    'step',
  ])
  const failed = (step: string) => (error: unknown) => {
    failures.inc({ domain, step })
    log.warn({ err: error, domain, step }, 'the relay failed and tries again')
  }

  async function lead(leadership: Leadership): Promise<void> {
    const signal = AbortSignal.any([leadership.lost, stopping.signal])
    const positioned = createBell()
    const position = async () => {
      const assigned = await assignPositions(database)
      if (!assigned) return false
      positioned.ring()
      // Not awaited: a Redis that is away must not slow positions down.
      if (hints) void hintPositions(hints, domain, assigned)
      return true
    }
    const publish = createPublisher(options, signal)
    isLeader.set({ domain }, 1)
    // Apart from each other: positions and hints go on while the bus is away.
    await Promise.all([
      repeat({
        work: position,
        bell: leadership.appended,
        pauseSeconds: pollSeconds,
        signal,
        onError: failed('position'),
      }),
      repeat({
        work: publish,
        bell: positioned,
        pauseSeconds: pollSeconds,
        signal,
        onError: failed('publish'),
      }),
      repeat({
        work: () => sweep(database.sql),
        pauseSeconds: SWEEP_SECONDS,
        signal,
        onError: failed('sweep'),
      }),
    ])
    isLeader.set({ domain }, 0)
  }

  const running = repeat({
    work: async () => {
      await using leadership = await takeLead(database, office, pollSeconds, stopping.signal)
      if (leadership) await lead(leadership)
      return false
    },
    pauseSeconds: pollSeconds,
    signal: stopping.signal,
    onError: failed('lead'),
  })
  scope.defer(async () => {
    stopping.abort()
    await running
  })
}
