import { repeat } from '@berth/platform/bell'
import type { Sql } from '@berth/platform/database'
import type { Log } from '@berth/platform/log'
import { sweepSessions } from './store/sessions.ts'

const PAUSE_SECONDS = 600

/** Takes the secrets from sessions that are over, and forgets old ones, until the scope ends. */
export function keepSessionsSwept({
  sql,
  log,
  scope,
}: {
  sql: Sql
  log: Log
  scope: AsyncDisposableStack
}): void {
  const stopping = new AbortController()
  const running = repeat({
    work: () => sweepSessions(sql),
    pauseSeconds: PAUSE_SECONDS,
    signal: stopping.signal,
    onError: (error) => log.error({ err: error }, 'sweeping sessions failed'),
  })
  scope.defer(async () => {
    stopping.abort()
    await running
  })
}
