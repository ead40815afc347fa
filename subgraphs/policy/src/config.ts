import { type SubgraphConfig, subgraphConfig } from '@berth/platform/config'
import { z } from 'zod'

export const policyConfig = {
  ...subgraphConfig,
  BERTH_POLICY_ENGINE: z.enum(['cedar', 'opa']).default('cedar'),
  /** Where OPA is, when it is the engine. */
  BERTH_OPA_URL: z.url({ protocol: /^https?$/ }).optional(),
} as const

/** Without an engine it is Cedar. */
export type PolicyConfig = SubgraphConfig & {
  readonly [K in 'BERTH_POLICY_ENGINE' | 'BERTH_OPA_URL']?:
    | z.output<(typeof policyConfig)[K]>
    | undefined
}
