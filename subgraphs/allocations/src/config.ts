import { list, subgraphConfig } from '@berth/platform/config'
import { z } from 'zod'

/** The environment of this service. */
export const allocationsConfig = {
  ...subgraphConfig,
  /** Where clients open terminals: a WebSocket URL. */
  TERMINAL_URL: z.url({ protocol: /^wss?$/ }),
  /** Origins of pages that may open terminals. */
  BERTH_ALLOWED_ORIGINS: list,
} as const
