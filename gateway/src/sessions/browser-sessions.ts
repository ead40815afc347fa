import type { Clock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import type { Routes } from '@berth/platform/http'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { openRedis } from '@berth/platform/pubsub'
import type { Concern } from '@berth/platform/revocations'
import type { PrivateJwk } from '@berth/platform/trusted-keys'
import type { JWTVerifyGetKey } from 'jose'
import type { Rates } from '../admit/rates.ts'
import type { Actors } from '../authentication/actors.ts'
import type { Authenticate, CredentialResolver } from '../authentication/authenticate.ts'
import { browserSession } from '../authentication/session.ts'
import { createSessionCache } from './cache.ts'
import { createCookies } from './cookies.ts'
import { createLoginSeal } from './login-cookie.ts'
import { createRefreshes } from './refresh.ts'
import { createRelyingParty } from './relying-party.ts'
import { sessionRoutes } from './routes.ts'
import type { SessionSettings } from './settings.ts'
import { createSessionStore } from './store.ts'

/** This gateway as the backend of pages in browsers, which are given a cookie and never a token. */
export type BrowserSessions = {
  readonly resolver: CredentialResolver
  evict(concern: Concern): void
  routes(of: { authenticate: Authenticate; rates: Rates }): Routes
}

export function createBrowserSessions({
  issuer,
  keys,
  settings,
  allowedOrigins,
  privateJwk,
  commands,
  redis,
  actors,
  clock,
  log,
  metrics,
}: {
  issuer: string
  /** The issuer's. */
  keys: JWTVerifyGetKey
  settings: SessionSettings
  /** Pages that may act for who is signed in. */
  allowedOrigins: readonly string[]
  /** The gateway's own, of which all its replicas have the same. */
  privateJwk: PrivateJwk
  commands: CommandClient
  redis: ReturnType<typeof openRedis>
  actors: Pick<Actors, 'of'>
  clock: Clock
  log: Log
  metrics: Metrics
}): BrowserSessions {
  const { idleSeconds, refreshSeconds } = settings
  const cookies = createCookies(settings)
  const relyingParty = createRelyingParty({ issuer, settings, log })
  const refreshes = createRefreshes({ commands, relyingParty, refreshSeconds, log, metrics })
  const sessions = createSessionStore({
    commands,
    cache: createSessionCache({ redis, clock, log }),
    idleSeconds,
    onDue: refreshes.due,
    clock,
    log,
    metrics,
  })
  const cookieName = cookies.session.name
  if (!settings.isSecure) {
    log.warn({ cookie: cookieName }, 'THE LOOPBACK EXCEPTION: the session cookie is not Secure')
  }
  const secret = Buffer.from(String(privateJwk.d), 'base64url')
  return {
    resolver: browserSession({ sessions, actors, cookieName, allowedOrigins }),
    evict: sessions.evict,
    routes: ({ authenticate, rates }) =>
      sessionRoutes({
        issuer,
        keys,
        settings,
        cookies,
        seal: createLoginSeal({ secret, clock }),
        relyingParty,
        sessions,
        authenticate,
        commands,
        rates,
        allowedOrigins,
        clock,
        metrics,
      }),
  }
}
