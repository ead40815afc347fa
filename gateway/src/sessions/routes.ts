import { anonymous } from '@berth/platform/actor'
import type { Clock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import type { HttpHandler, HttpReply, HttpRequest, Routes } from '@berth/platform/http'
import { newId, newUuid } from '@berth/platform/ids'
import type { Metrics } from '@berth/platform/metrics'
import { createSession, revokeSessions } from '@berth/schema/commands/policy'
import type { JWTVerifyGetKey } from 'jose'
import type { Rates } from '../admit/rates.ts'
import type { Authenticate } from '../authentication/authenticate.ts'
import { CredentialRefused } from '../authentication/issuer.ts'
import { presentedBy } from '../authentication/presented.ts'
import { checkOrigin, checkPage, tokenOf } from '../authentication/session.ts'
import { preflight, withCors } from '../http/cors.ts'
import { type Cookies, cookieValues } from './cookies.ts'
import { LOGIN_SECONDS, type LoginSeal } from './login-cookie.ts'
import { verifyLogoutToken } from './logout-token.ts'
import { PAGE_HEADERS, signInFailedPage } from './page.ts'
import { type RelyingParty, type SignedIn, SignInRefused } from './relying-party.ts'
import { parseReturnTo } from './return-to.ts'
import type { SessionSettings } from './settings.ts'
import type { SessionStore } from './store.ts'
import { csrfOf, newSessionToken, tokenHashOf } from './token.ts'

/** What the routes of browser sessions are made of. */
export type SessionRoutes = {
  readonly issuer: string
  readonly settings: SessionSettings
  readonly cookies: Cookies
  readonly seal: LoginSeal
  readonly relyingParty: RelyingParty
  /** Of the issuer, by which it signs that somebody has signed out. */
  readonly keys: JWTVerifyGetKey
  readonly sessions: Pick<SessionStore, 'evict'>
  readonly authenticate: Authenticate
  readonly commands: Pick<CommandClient, 'call'>
  readonly rates: Rates
  readonly allowedOrigins: readonly string[]
  readonly clock: Clock
  readonly metrics: Metrics
}

/** `/auth/*`: sign-in at the issuer, what a page needs to know of its session, and the ways out. */
export function sessionRoutes(of: SessionRoutes): Routes {
  const { settings, cookies, relyingParty, commands, allowedOrigins } = of
  const signIns = of.metrics.counter('berth_sign_ins_total', 'Of browsers, by outcome', ['outcome'])
  const cors = (handler: HttpHandler) => withCors(allowedOrigins, handler)
  const navigation = (handler: HttpHandler): HttpHandler => {
    return async (request, reply) => {
      try {
        secure(reply)
        await handler(request, reply)
      } catch (error) {
        showFailure(error, request, reply)
      }
    }
  }

  return {
    'GET /auth/login': navigation(login),
    'GET /auth/callback': navigation(callback),
    'GET /auth/session': cors(session),
    'OPTIONS /auth/session': cors(preflight),
    'POST /auth/logout': cors(logout),
    'OPTIONS /auth/logout': cors(preflight),
    'POST /auth/backchannel-logout': backChannelLogout,
  }

  async function login(request: HttpRequest, reply: HttpReply): Promise<void> {
    const { publicUrl, isSecure } = settings
    const returnTo = parseReturnTo(request.query.get('returnTo'), publicUrl)
    // A developer's other name for this machine: its cookies would not come back with the browser.
    if (!isSecure && request.headers.host !== publicUrl.host) {
      const there = new URL('/auth/login', publicUrl)
      there.searchParams.set('returnTo', returnTo)
      return redirect(reply, there, [])
    }
    await of.rates.take('auth', { actor: anonymous, clientIp: request.clientIp })
    const { url, ...begun } = await relyingParty.begin()
    const sealed = await of.seal.seal({ ...begun, returnTo })
    redirect(reply, url, [cookies.login.set(sealed, LOGIN_SECONDS)])
  }

  async function callback(request: HttpRequest, reply: HttpReply): Promise<void> {
    // Good for one return, however it ends.
    reply.raw.setHeader('set-cookie', cookies.login.clear())
    const outcome = await signIn(request).catch((error: unknown) => {
      const code = error instanceof DomainError ? error.code : 'INTERNAL'
      signIns.inc({ outcome: error instanceof SignInRefused ? 'refused' : code })
      throw error
    })
    signIns.inc({ outcome: 'signed-in' })
    const { token, returnTo } = outcome
    const cookie = cookies.session.set(token, settings.lifetimeSeconds)
    redirect(reply, new URL(returnTo, settings.publicUrl), [cookie, cookies.login.clear()])
  }

  async function signIn(request: HttpRequest): Promise<{ token: string; returnTo: string }> {
    await of.rates.take('auth', { actor: anonymous, clientIp: request.clientIp })
    const { cookie } = request.headers
    const [sealed, ...others] = cookieValues(cookie, cookies.login.name)
    const begun = sealed && others.length === 0 ? await of.seal.open(sealed) : null
    if (!begun) throw new SignInRefused('this browser has begun no sign-in', null)
    const signedIn = await relyingParty.finish(request.query, begun)
    // A new one, whatever the browser came with: nobody can have known it before.
    const token = newSessionToken()
    await create(token, signedIn, request)
    return { token, returnTo: begun.returnTo }
  }

  async function create(token: string, signedIn: SignedIn, request: HttpRequest): Promise<void> {
    const { idleSeconds, lifetimeSeconds, refreshSeconds } = settings
    const [before] = cookieValues(request.headers.cookie, cookies.session.name)
    await commands.call(
      createSession,
      {
        ...signedIn,
        id: newId('ses'),
        tokenHash: tokenHashOf(token),
        issuer: of.issuer,
        refreshSeconds,
        idleSeconds,
        lifetimeSeconds,
        userAgent: request.headers['user-agent']?.slice(0, 300) ?? null,
        clientIp: request.clientIp,
        replaces: before ? tokenHashOf(before) : null,
      },
      { commandId: newUuid(), requestId: request.requestId, traceparent: request.traceparent },
    )
  }

  /** Tells a page of an allowed origin, and none other, what it must send with the cookie. */
  async function session(request: HttpRequest, reply: HttpReply): Promise<void> {
    secure(reply)
    const presented = presentedBy(request.headers, request.clientIp, 'session-page')
    const signedOut = { authenticated: false, loginUrl: '/auth/login' }
    try {
      const token = tokenOf(presented, cookies.session.name)
      if (token === null) return reply.json(200, signedOut)
      const { actor, expiresAt } = await of.authenticate(presented, request.log)
      reply.json(200, {
        authenticated: true,
        csrf: csrfOf(token),
        session: { id: actor.credential, expiresAt },
        userId: actor.subject,
        organizationId: actor.organizationId,
      })
    } catch (error) {
      if (!isSignedOut(error)) throw error
      reply.json(200, signedOut, { 'set-cookie': cookies.session.clear() })
    }
  }

  /**
   * Ends the session of this browser. What is over already, is: a cookie that is none is cleared. The
   * one that a browser keeps back from another site's form is not: its answer could clear it all the same.
   */
  async function logout(request: HttpRequest, reply: HttpReply): Promise<void> {
    secure(reply)
    const presented = presentedBy(request.headers, request.clientIp, 'http')
    const token = tokenOrNone(presented, cookies.session.name)
    if (token === null) checkOrigin(request.headers, allowedOrigins)
    else {
      checkPage(token, presented, allowedOrigins)
      await end({ tokenHash: tokenHashOf(token) }, 'LOGOUT', request)
    }
    const issuerLogoutUrl = (await relyingParty.signOutUrl())?.href ?? null
    reply.json(200, { issuerLogoutUrl }, { 'set-cookie': cookies.session.clear() })
  }

  /** OpenID Connect Back-Channel Logout 1.0: the issuer's own session has ended, so ours do. */
  async function backChannelLogout(request: HttpRequest, reply: HttpReply): Promise<void> {
    secure(reply)
    try {
      const form = new URLSearchParams((await request.body()).toString('utf8'))
      const { issuer, keys, clock } = of
      const { clientId } = settings
      const token = form.get('logout_token') ?? ''
      const asked = await verifyLogoutToken(token, { keys, issuer, clientId, clock })
      await end(endingOf(issuer, asked), 'ISSUER', request)
      reply.send(200, '')
    } catch (error) {
      if (!(error instanceof CredentialRefused)) throw error
      request.log.warn({ reason: error.message }, 'logout token refused')
      reply.json(400, { error: 'invalid_request' })
    }
  }

  async function end(
    which: Parameters<typeof revoke>[0],
    reason: 'LOGOUT' | 'ISSUER',
    request: HttpRequest,
  ): Promise<void> {
    const { ended } = await revoke(which, reason, request)
    // Others are told by the feed; here it is over when the answer is given.
    for (const id of ended) of.sessions.evict({ kind: 'credential', id })
  }

  function revoke(
    which: { tokenHash: string } | ReturnType<typeof endingOf>,
    reason: 'LOGOUT' | 'ISSUER',
    { requestId, traceparent }: HttpRequest,
  ) {
    const by = { commandId: newUuid(), requestId, traceparent }
    return commands.call(revokeSessions, { which, reason }, by)
  }
}

/** The issuer's clock may be behind ours by this. */
const CLOCK_SKEW_MS = 60_000

/** Not those that began after it was asked: a token that is sent again ends nothing new. */
function endingOf(
  issuer: string,
  { subject, issuerSession, issuedAt }: Awaited<ReturnType<typeof verifyLogoutToken>>,
) {
  const createdBefore = new Date(issuedAt.getTime() + CLOCK_SKEW_MS).toISOString()
  if (subject !== null) return { issuer, subject, issuerSession, createdBefore }
  return { issuer, subject, issuerSession: issuerSession ?? '', createdBefore }
}

function redirect(reply: HttpReply, to: URL, cookies: string[]): void {
  if (cookies.length > 0) reply.raw.setHeader('set-cookie', cookies)
  reply.send(303, '', { location: to.href })
}

/** Nothing of this is for a cache, another site's page, or the next address. */
function secure(reply: HttpReply): void {
  reply.raw.setHeader('cache-control', 'no-store')
  reply.raw.setHeader('referrer-policy', 'no-referrer')
  reply.raw.setHeader('x-content-type-options', 'nosniff')
  reply.raw.setHeader('cross-origin-resource-policy', 'same-origin')
}

/** A person sees a page and the way back to the start; a program what every route says. */
function showFailure(thrown: unknown, request: HttpRequest, reply: HttpReply): void {
  const error = explained(thrown, request)
  if (!(request.headers.accept ?? '').includes('text/html')) throw error
  if (!(error instanceof DomainError) || error.code === 'INTERNAL') throw error
  const { status, html } = signInFailedPage(error)
  reply.send(status, html, PAGE_HEADERS)
}

function explained(error: unknown, request: HttpRequest): unknown {
  if (error instanceof SignInRefused) {
    request.log.warn({ reason: error.message, code: error.code }, 'sign-in refused')
    if (error.code === 'access_denied') {
      return new DomainError('FORBIDDEN', 'The sign-in was cancelled')
    }
    return new DomainError('BAD_INPUT', 'This sign-in is not valid any more: start it again')
  }
  if (!(error instanceof DomainError)) return error
  switch (error.code) {
    case 'NOT_FOUND':
      return new DomainError('FORBIDDEN', error.message)
    case 'UPSTREAM_UNAVAILABLE':
    case 'TIMEOUT':
      return new DomainError('UNAVAILABLE', 'Sign-in cannot be done now: try again shortly', {
        cause: error,
        retryAfterSeconds: 2,
      })
    default:
      return error
  }
}

function tokenOrNone(presented: { cookie?: string | undefined }, name: string): string | null {
  try {
    return tokenOf(presented, name)
  } catch (error) {
    if (error instanceof CredentialRefused) return null
    throw error
  }
}

function isSignedOut(error: unknown): boolean {
  if (error instanceof CredentialRefused) return true
  return error instanceof DomainError && error.code === 'UNAUTHENTICATED'
}
