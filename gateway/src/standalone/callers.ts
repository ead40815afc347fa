import { anonymous } from '@berth/platform/actor'
import { systemClock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Authenticate, Authenticated, Presented } from '../authentication/authenticate.ts'
import { bearerOf } from '../authentication/bearer.ts'
import { UNSIGNED } from '../authentication/dependents.ts'
import { CredentialRefused, createIssuer } from '../authentication/issuer.ts'
import { createIssuerKeys } from '../authentication/issuer-keys.ts'
import { createKeySource } from '../authentication/key-source.ts'
import type { Now, Standing, Standings } from '../authentication/standing.ts'
import { createTokens } from '../authentication/tokens.ts'
import type { Authentication } from './options.ts'

export type Callers = {
  readonly authenticate: Authenticate
  readonly standings: Standings
  /** Resolves once tokens can be verified. */
  ready(): Promise<void>
}

const NOBODY: Authenticated = { actor: anonymous, expiresAt: null, signingKeys: UNSIGNED }

/**
 * Who may ask: whoever presents a good bearer token, or everyone. Nobody is told apart here: what
 * subgraphs are told of who asks are the headers that they are forwarded.
 */
export function createCallers(
  authentication: Authentication | null,
  { log, metrics }: { log: Log; metrics: Metrics },
): Callers {
  if (!authentication) {
    const authenticate = async () => NOBODY
    return { authenticate, standings: standingsBy(authenticate), ready: async () => {} }
  }
  const { audience, ...whose } = authentication
  const clock = systemClock
  const keys = createIssuerKeys({ source: createKeySource(whose), clock, log, metrics })
  const issuer = createIssuer({ issuer: whose.issuer, audience, keys, clock })
  const tokens = createTokens({ issuer })

  async function authenticate({ authorization }: Presented, to: Log): Promise<Authenticated> {
    const text = bearerOf(authorization)
    if (!text) throw new DomainError('UNAUTHENTICATED', 'Present a bearer token of the issuer')
    try {
      const { expiresAt, signingKeys } = await tokens.verify(text)
      return { actor: anonymous, expiresAt, signingKeys }
    } catch (error) {
      if (!(error instanceof CredentialRefused)) throw error
      to.info({ reason: error.message }, 'credential refused')
      throw new DomainError('UNAUTHENTICATED', 'The credential is not valid: sign in again')
    }
  }
  return { authenticate, standings: standingsBy(authenticate), ready: () => keys.ready() }
}

/** A connection stands for as long as the token that opened it. */
function standingsBy(authenticate: Authenticate): Standings {
  return {
    async open(presented, log) {
      const { expiresAt } = await authenticate(presented, log)
      return expiresAt ? until(expiresAt, log) : FOREVER
    },
  }
}

const FOREVER: Standing = Object.freeze({
  now: anonymous,
  actor: async () => anonymous,
  watch: () => () => {},
  close: () => {},
})

const MAX_TIMER_MS = 2 ** 31 - 1

function until(expiresAt: Date, log: Log): Standing {
  const listeners = new Set<(now: Now) => void>()
  let now: Now = anonymous
  let timer = arm()
  return {
    get now() {
      return now
    },
    async actor() {
      if (now instanceof DomainError) throw now
      return anonymous
    },
    watch(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      clearTimeout(timer)
      listeners.clear()
    },
  }

  /** No timer is longer than 24.8 days: what a token has left then is waited for anew. */
  function arm(): NodeJS.Timeout {
    const remainingMs = Math.max(0, expiresAt.getTime() - Date.now())
    return setTimeout(due, Math.min(remainingMs, MAX_TIMER_MS)).unref()
  }

  function due(): void {
    if (Date.now() < expiresAt.getTime()) {
      timer = arm()
      return
    }
    now = new DomainError('UNAUTHENTICATED', 'The credential has expired')
    for (const listener of listeners) tell(listener, now)
  }

  function tell(listener: (now: Now) => void, next: Now): void {
    try {
      listener(next)
    } catch (error) {
      log.error({ err: error }, 'a listener failed on a change of authority')
    }
  }
}
