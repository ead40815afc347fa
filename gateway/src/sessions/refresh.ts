import type { CommandClient } from '@berth/platform/commands'
import { type Id, newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import {
  beginSessionRefresh,
  endSessionRefresh,
  revokeSessions,
} from '@berth/schema/commands/policy'
import { type RelyingParty, SignInRefused } from './relying-party.ts'

export type Refreshes = {
  /** Asks the issuer whether they are still known there, if nobody else does. Returns at once. */
  due(id: Id<'ses'>): void
}

/** Of one session, which is due for as long as what is remembered of it says so. */
const PAUSE_MS = 5_000
const AT_ONCE = 16

/**
 * Refreshes sessions at the issuer, beside the requests that use them. Of all gateways one at a time is
 * given the token, which it trades for the next; when the issuer will not, the session ends.
 */
export function createRefreshes({
  commands,
  relyingParty,
  refreshSeconds,
  log,
  metrics,
}: {
  commands: Pick<CommandClient, 'call'>
  relyingParty: Pick<RelyingParty, 'refresh'>
  refreshSeconds: number
  log: Log
  metrics: Metrics
}): Refreshes {
  const refreshes = metrics.counter('berth_session_refreshes_total', 'At the issuer, by outcome', [
    'outcome',
  ])
  const recent = new Set<string>()
  let running = 0

  return {
    due(id) {
      // What is left out is due still, and told of again.
      if (recent.has(id) || running >= AT_ONCE) return
      recent.add(id)
      setTimeout(() => recent.delete(id), PAUSE_MS).unref()
      running++
      refresh(id)
        .then((outcome) => outcome && refreshes.inc({ outcome }))
        .catch((error: unknown) => {
          refreshes.inc({ outcome: 'failed' })
          log.warn({ err: error, session: id }, 'a session could not be refreshed')
        })
        .finally(() => {
          running--
        })
    },
  }

  async function refresh(id: Id<'ses'>): Promise<'refreshed' | 'ended' | null> {
    const lease = newUuid()
    const by = () => ({ commandId: newUuid() })
    const { refreshToken } = await commands.call(beginSessionRefresh, { id, lease }, by())
    if (refreshToken === null) return null
    try {
      const next = await relyingParty.refresh(refreshToken)
      const refreshed = { id, lease, refreshToken: next, refreshSeconds }
      await commands.call(endSessionRefresh, refreshed, by())
      return 'refreshed'
    } catch (error) {
      // Anything else it says is about us, and nobody's session ends for that.
      if (!(error instanceof SignInRefused) || error.code !== 'invalid_grant') throw error
      const which = { sessionId: id }
      await commands.call(revokeSessions, { which, reason: 'ISSUER' }, by())
      log.info({ session: id }, 'the issuer has ended a session')
      return 'ended'
    }
  }
}
