import { list, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

/** Unset: as many as is usual. */
const count = z.coerce.number().int().positive().optional()

export const gatewayConfig = {
  ...serviceConfig,
  /** Whose tokens are taken; found by OpenID Connect Discovery. */
  OIDC_ISSUER: z.url({ protocol: /^https?$/ }),
  /** What those tokens must be made for. */
  OIDC_AUDIENCE: z.string(),
  /** Origins of pages that may call from a browser, over HTTP and WebSocket. */
  BERTH_ALLOWED_ORIGINS: list,
  /** WebSockets and event streams there may be at once: in all, and of one party each. */
  BERTH_CONNECTIONS: count,
  BERTH_CONNECTIONS_PER_ADDRESS: count,
  BERTH_CONNECTIONS_PER_ACTOR: count,
  BERTH_CONNECTIONS_PER_ORGANIZATION: count,
  /** A supergraph file to serve instead of the committed one; what is written there is served next. */
  BERTH_SUPERGRAPH: z.string().optional(),
  /** A manifest of trusted documents (`apollo-persisted-query-manifest`). */
  BERTH_TRUSTED_DOCUMENTS: z.string().optional(),
} as const
