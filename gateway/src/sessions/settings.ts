import { ConfigError } from '@berth/platform/config'

/** What browser sessions are configured by. */
export type SessionSettings = {
  readonly clientId: string
  readonly clientSecret: string
  /** What is asked of the issuer, blank-separated. */
  readonly scopes: string
  /** Where browsers reach this gateway: scheme, host and port. */
  readonly publicUrl: URL
  /** False for the loopback exception alone: then the cookie travels over plain HTTP. */
  readonly isSecure: boolean
  readonly idleSeconds: number
  readonly lifetimeSeconds: number
  readonly refreshSeconds: number
}

type Given = {
  readonly BERTH_ENV: string
  readonly OIDC_ISSUER: string
  readonly OIDC_AUDIENCE: string
  readonly OIDC_CLIENT_ID?: string | undefined
  readonly OIDC_CLIENT_SECRET?: string | undefined
  readonly OIDC_SCOPES?: string | undefined
  readonly BERTH_PUBLIC_URL?: string | undefined
  readonly BERTH_SESSION_IDLE_SECONDS?: number | undefined
  readonly BERTH_SESSION_SECONDS?: number | undefined
  readonly BERTH_SESSION_REFRESH_SECONDS?: number | undefined
}

const IDLE_SECONDS = 30 * 60
const LIFETIME_SECONDS = 12 * 60 * 60
const REFRESH_SECONDS = 15 * 60

/**
 * Null when there is no client at the issuer: then there are no browser sessions.
 *
 * @throws {ConfigError} when something is missing, or would not be safe
 */
export function sessionSettings(config: Given): SessionSettings | null {
  const { OIDC_CLIENT_ID: clientId, OIDC_CLIENT_SECRET: clientSecret } = config
  if (clientId === undefined && clientSecret === undefined) return null
  const problems: string[] = []
  if (!clientId) problems.push('OIDC_CLIENT_ID is not set, and OIDC_CLIENT_SECRET is')
  if (!clientSecret) problems.push('OIDC_CLIENT_SECRET is not set, and OIDC_CLIENT_ID is')
  // An ID token is for the client: it must not pass for a token that is for the graph.
  if (clientId === config.OIDC_AUDIENCE) {
    problems.push('OIDC_CLIENT_ID: must not be what OIDC_AUDIENCE is')
  }
  const publicUrl = URL.parse(config.BERTH_PUBLIC_URL ?? '')
  if (!publicUrl) problems.push('BERTH_PUBLIC_URL is not set, and browser sessions need it')
  else {
    const isOrigin = publicUrl.href === `${publicUrl.origin}/`
    if (!isOrigin) problems.push('BERTH_PUBLIC_URL: must be a scheme, a host and a port alone')
    if (!isSafe(publicUrl, config.BERTH_ENV)) problems.push(`BERTH_PUBLIC_URL: ${MUST_BE_SAFE}`)
  }
  const issuer = URL.parse(config.OIDC_ISSUER)
  if (!issuer || !isSafe(issuer, config.BERTH_ENV)) problems.push(`OIDC_ISSUER: ${MUST_BE_SAFE}`)

  const idleSeconds = config.BERTH_SESSION_IDLE_SECONDS ?? IDLE_SECONDS
  const lifetimeSeconds = config.BERTH_SESSION_SECONDS ?? LIFETIME_SECONDS
  if (idleSeconds > lifetimeSeconds) {
    problems.push('BERTH_SESSION_IDLE_SECONDS: must not be longer than BERTH_SESSION_SECONDS')
  }
  if (problems.length > 0 || !clientId || !clientSecret || !publicUrl) {
    throw new ConfigError(`Bad configuration:\n  ${problems.join('\n  ')}`)
  }
  return {
    clientId,
    clientSecret,
    scopes: withOpenid(config.OIDC_SCOPES ?? ''),
    publicUrl,
    isSecure: publicUrl.protocol === 'https:',
    idleSeconds,
    lifetimeSeconds,
    refreshSeconds: config.BERTH_SESSION_REFRESH_SECONDS ?? REFRESH_SECONDS,
  }
}

const MUST_BE_SAFE = 'must be https; http is for loopback, outside production'

const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** The one place that says where plain HTTP is good enough. */
function isSafe({ protocol, hostname }: URL, environment: string): boolean {
  return protocol === 'https:' || (environment !== 'production' && LOOPBACK.has(hostname))
}

function withOpenid(scopes: string): string {
  return [...new Set(['openid', ...scopes.split(/[\s,]+/).filter(Boolean)])].join(' ')
}
