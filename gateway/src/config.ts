import { list, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'
import { LIMITS } from './admit/limits.ts'

/** Unset: as many as is usual. */
const count = z.coerce.number().int().positive().optional()

const seconds = (max: number) => z.coerce.number().int().min(10).max(max).optional()

export const gatewayConfig = {
  ...serviceConfig,
  /** Whose tokens are taken; found by OpenID Connect Discovery. */
  OIDC_ISSUER: z.url({ protocol: /^https?$/ }),
  /** What those tokens must be made for. */
  OIDC_AUDIENCE: z.string(),
  /** How long the issuer's keys stay good while it gives none; an hour unless said. */
  BERTH_ISSUER_KEYS_STALE_SECONDS: z.coerce.number().int().min(0).max(86_400).optional(),
  /** What `POST /internal/auth/jwks/refresh` is called with; without it there is no such route. */
  BERTH_BREAK_GLASS_SECRET: z
    .string()
    .regex(/^[\w.~+/=-]{32,512}$/, 'must be 32 or more letters, digits and -._~+/=')
    .optional(),
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
  /** CIDRs of the proxies before the gateway, whose `X-Forwarded-For` is believed (`doc/operations.md`). */
  BERTH_TRUSTED_PROXIES: list,
  /** What one operation may cost at most (`doc/limits.md`). */
  BERTH_MAX_COST: z.coerce.number().int().positive().default(LIMITS.cost),
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
