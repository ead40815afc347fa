import { list, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

export const gatewayConfig = {
  ...serviceConfig,
  /** Whose tokens are taken; found by OpenID Connect Discovery. */
  OIDC_ISSUER: z.url({ protocol: /^https?$/ }),
  /** What those tokens must be made for. */
  OIDC_AUDIENCE: z.string(),
  /** Origins of pages that may call from a browser, over HTTP and WebSocket. */
  BERTH_ALLOWED_ORIGINS: list,
} as const
