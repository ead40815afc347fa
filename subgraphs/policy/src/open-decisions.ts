import type { Clock } from '@berth/platform/clock'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { PolicyConfig } from './config.ts'
import type { PolicyDatabase } from './database.ts'
import { createPolicyEngine } from './engine/engine.ts'
import { createDecisionLog } from './service/decision-log.ts'
import { createDecisions } from './service/decisions.ts'
import { createPolicyDecisions } from './service/policy-decisions.ts'

/** What decides who may do what, and the log of it. */
export function openDecisions({
  config,
  database: { sql },
  ...given
}: {
  config: PolicyConfig
  database: PolicyDatabase
  clock: Clock
  log: Log
  metrics: Metrics
  scope: AsyncDisposableStack
}) {
  const engine = createPolicyEngine(config, given.log)
  const decisionLog = createDecisionLog({ sql, ...given })
  return {
    engine,
    decisions: createDecisions({ sql, engine, decisionLog, log: given.log }),
    policyDecisions: createPolicyDecisions({ sql }),
  }
}
