import { createBell, repeat } from '@berth/platform/bell'
import type { SqlDatabase } from '@berth/platform/database'
import { listenTo } from '@berth/platform/listen'
import type { Log } from '@berth/platform/log'
import { type Hints, revocationChannel } from '@berth/platform/pubsub'
import { revocationMessage } from '@berth/platform/revocations'
import type { Revocations } from './service/revocations.ts'
import { sweepRevocations } from './store/revocations.ts'

/** As `prisma/policy/migrations/0003_revocations` notifies it. */
const NOTIFICATION = 'policy_revocations'
/** In a message: those who miss some read them. */
const CONCERNS = 100
const SWEEP_SECONDS = 3_600

/**
 * Tells of changes of authority over Redis as they are committed, whoever made them: woken by the
 * database, or at worst after `pollSeconds`. Every replica does; whoever hears it twice knows by the
 * version. Removes those that are too old to be asked for.
 */
export function followRevocations({
  database,
  revocations,
  hints,
  log,
  scope,
  pollSeconds = 1,
}: {
  database: SqlDatabase
  revocations: Revocations
  hints: Pick<Hints, 'publish'>
  log: Log
  scope: AsyncDisposableStack
  pollSeconds?: number
}): void {
  const stopping = new AbortController()
  const { signal } = stopping
  const bell = createBell()
  let after: number | null = null

  const running = Promise.all([
    repeat({
      work: tell,
      bell,
      pauseSeconds: pollSeconds,
      signal,
      onError: (error) => log.warn({ err: error }, 'changes of authority cannot be told now'),
    }),
    repeat({
      work: () => sweepRevocations(database.sql),
      pauseSeconds: SWEEP_SECONDS,
      signal,
      onError: (error) => log.error({ err: error }, 'sweeping revocations failed'),
    }),
    repeat({
      work: async () => {
        await listenTo(database, NOTIFICATION, bell.ring, signal)
        return false
      },
      pauseSeconds: pollSeconds,
      signal,
      onError: (error) => log.warn({ err: error }, 'changes of authority cannot be listened to'),
    }),
  ])
  scope.defer(async () => {
    stopping.abort()
    await running
  })

  async function tell(): Promise<boolean> {
    const { version, concerns, isComplete } = await revocations.read({ after, limit: CONCERNS })
    const from = after
    after = version
    if (from === null || (isComplete && concerns.length === 0)) return false
    const told = isComplete
      ? { after: from, version, concerns }
      : { after: version, version, concerns: [] }
    // Not awaited: a Redis that is away loses it, and the others ask.
    void hints.publish(revocationChannel(), revocationMessage(told))
    return concerns.length === CONCERNS
  }
}
