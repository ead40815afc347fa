import { subgraphConfig } from '@berth/platform/config'
import { z } from 'zod'

export const inventoryConfig = {
  ...subgraphConfig,
  /** Between two probes of a node. */
  PROBE_SECONDS: z.coerce.number().min(1).max(3_600).default(30),
} as const
