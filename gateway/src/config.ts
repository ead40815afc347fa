import { list, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

/** Unset: as many as is usual. */
const count = z.coerce.number().int().positive().optional()

const seconds = (max: number) => z.coerce.number().int().min(10).max(max).optional()

export const gatewayConfig = {
  ...serviceConfig,
  /** Whose tokens are taken; found by OpenID Connect Discovery. */
  OIDC_ISSUER: z.url({ protocol: /^https?$/ }),
  /** What those tokens must be made for. */
  OIDC_AUDIENCE: z.string(),
  /** This gateway as a client of the issuer: with both, browsers sign in here (`doc/browser-sessions.md`). */
  OIDC_CLIENT_ID: z.string().optional(),
  OIDC_CLIENT_SECRET: z.string().optional(),
  /** What is asked of the issuer beside `openid`, such as `offline_access`. */
  OIDC_SCOPES: z.string().optional(),
  /** Where browsers reach this gateway: `https://berth.example`. */
  BERTH_PUBLIC_URL: z.url({ protocol: /^https?$/ }).optional(),
  /** How long a browser session lasts unused, in all, and between two questions to the issuer. */
  BERTH_SESSION_IDLE_SECONDS: seconds(2_592_000),
  BERTH_SESSION_SECONDS: seconds(2_592_000),
  BERTH_SESSION_REFRESH_SECONDS: seconds(86_400),
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
