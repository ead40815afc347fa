import { repeat } from '@berth/platform/bell'
import type { Log } from '@berth/platform/log'
import type { AuditTrail } from './service/audit-trail.ts'

/** What was appended is unsigned for no longer, whatever comes. */
const CHECKPOINT_SECONDS = 60

/** Signs checkpoints of the audit trail until the scope ends; every replica does, one at a time. */
export function keepAuditSealed({
  trail,
  log,
  scope,
}: {
  trail: AuditTrail
  log: Log
  scope: AsyncDisposableStack
}): void {
  const stopping = new AbortController()
  const running = repeat({
    work: async () => {
      await trail.checkpointAll()
      return false
    },
    bell: trail.due,
    pauseSeconds: CHECKPOINT_SECONDS,
    signal: stopping.signal,
    onError: (error) => log.error({ err: error }, 'the audit trail could not be signed'),
  })
  scope.defer(async () => {
    stopping.abort()
    await running
  })
}
