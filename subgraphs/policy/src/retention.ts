import { repeat } from '@berth/platform/bell'
import type { Sql } from '@berth/platform/database'
import type { Log } from '@berth/platform/log'
import { sweepEndedCredentials, sweepSessions } from './store/retention.ts'

const PAUSE_SECONDS = 600

/**
 * Takes the secrets from what is over, and forgets it when it has been for long, until the scope
 * ends: how long, the functions of the database say. Every replica does.
 */
export function keepSwept({
  sql,
  log,
  scope,
}: {
  sql: Sql
  log: Log
  scope: AsyncDisposableStack
}): void {
  const stopping = new AbortController()
  const keep = (what: string, work: () => Promise<boolean>) =>
    repeat({
      work,
      pauseSeconds: PAUSE_SECONDS,
      signal: stopping.signal,
      onError: (error) => log.error({ err: error }, `sweeping ${what} failed`),
    })
  const running = Promise.all([
    keep('sessions', () => sweepSessions(sql)),
    keep('API keys and invitations', () => sweepEndedCredentials(sql)),
  ])
  scope.defer(async () => {
    stopping.abort()
    await running
  })
}
