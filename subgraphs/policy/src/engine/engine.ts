import { ConfigError } from '@berth/platform/config'
import type { Log } from '@berth/platform/log'
import type { PolicyConfig } from '../config.ts'
import { createCedarEngine } from './cedar/cedar.ts'
import { createOpaEngine } from './opa/opa.ts'
import type { PolicyEngine } from './port.ts'

/** The engine that the configuration names. @throws {ConfigError} for OPA at no address */
export function createPolicyEngine(config: PolicyConfig, log: Log): PolicyEngine {
  const { BERTH_POLICY_ENGINE: name, BERTH_OPA_URL: url, BERTH_INSTANCE } = config
  if (name !== 'opa') return createCedarEngine({ log })
  if (url !== undefined) return createOpaEngine({ url, name: BERTH_INSTANCE, log })
  throw new ConfigError('Bad configuration:\n  BERTH_OPA_URL is not set')
}
