import { startAuditRelay } from '@berth/platform/audit-relay'
import type { Clock } from '@berth/platform/clock'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { TrustedKeys } from '@berth/platform/trusted-keys'
import { keepAuditSealed } from './audit-sealer.ts'
import type { PolicyDatabase } from './database.ts'
import { createCheckpointSigner, type PublicKeys } from './domain/audit-checkpoint.ts'
import { createAuditEvents } from './service/audit-events.ts'
import { createAuditExport } from './service/audit-export.ts'
import { createAuditTrail } from './service/audit-trail.ts'

/** The trail of all domains, kept signed, and this domain's own part of it on its way there. */
export function openAudit({
  database,
  keys,
  clock,
  log,
  metrics,
  scope,
}: {
  database: PolicyDatabase
  keys: Pick<TrustedKeys, 'privateJwk' | 'jwks'>
  clock: Clock
  log: Log
  metrics: Metrics
  scope: AsyncDisposableStack
}) {
  const sign = createCheckpointSigner(keys.privateJwk)
  const publicKeys = keys.jwks as PublicKeys
  const trail = createAuditTrail({ database, sign, keys: publicKeys, clock, log, metrics })
  keepAuditSealed({ trail, log, scope })
  const domain = 'policy'
  startAuditRelay({
    database,
    domain,
    send: (batch) => trail.append(domain, batch),
    log,
    metrics,
    scope,
  })
  return {
    auditTrail: trail,
    auditEvents: createAuditEvents({ database }),
    auditExport: createAuditExport({ database, trail, keys: publicKeys }),
  }
}
