import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import * as oidc from 'openid-client'
import type { Login } from './login-cookie.ts'
import type { SessionSettings } from './settings.ts'

/** This gateway as a client of the issuer. Tokens go no further than whoever calls it. */
export type RelyingParty = {
  /** Where to send the browser, and what it must come back with. @throws {DomainError} UNAVAILABLE */
  begin(): Promise<Omit<Login, 'returnTo'> & { url: URL }>
  /**
   * Trades what the browser came back with for who they are.
   *
   * @throws {SignInRefused} when the issuer says no, or the answer is not to what was asked
   * @throws {DomainError} UNAVAILABLE when the issuer cannot be asked
   */
  finish(query: URLSearchParams, login: Login): Promise<SignedIn>
  /**
   * @returns the token to use next; null for the same again
   * @throws as `finish`
   */
  refresh(refreshToken: string): Promise<string | null>
  /** The issuer's page that ends its own session; null when it has none, or cannot be asked. */
  signOutUrl(): Promise<URL | null>
}

export type SignedIn = {
  readonly subject: string
  /** The issuer's `sid`. */
  readonly issuerSession: string | null
  readonly refreshToken: string | null
}

/** The reason is for the log. */
export class SignInRefused extends Error {
  override readonly name = 'SignInRefused'
  /** As OAuth has it, such as `access_denied` or `invalid_grant`; null for a finding of our own. */
  readonly code: string | null

  constructor(reason: string, code: string | null, options?: ErrorOptions) {
    super(reason, options)
    this.code = code
  }
}

const TIMEOUT_SECONDS = 5

/** Found by discovery when it is first needed, and looked for again until it answers. */
export function createRelyingParty({
  issuer,
  settings,
  log,
}: {
  issuer: string
  settings: SessionSettings
  log: Log
}): RelyingParty {
  const { clientId, clientSecret, publicUrl, scopes } = settings
  const redirectUri = new URL('/auth/callback', publicUrl).href
  let discovery: Promise<oidc.Configuration> | undefined

  return {
    async begin() {
      const config = await configured()
      const state = oidc.randomState()
      const nonce = oidc.randomNonce()
      const verifier = oidc.randomPKCECodeVerifier()
      const url = oidc.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: scopes,
        state,
        nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      })
      return { state, nonce, verifier, url }
    },

    async finish(query, { state, nonce, verifier }) {
      const config = await configured()
      const url = new URL(redirectUri)
      url.search = query.toString()
      const answer = await asking(
        oidc.authorizationCodeGrant(config, url, {
          expectedState: state,
          expectedNonce: nonce,
          pkceCodeVerifier: verifier,
          idTokenExpected: true,
        }),
      )
      const claims = answer.claims()
      const { sub, sid } = claims ?? { sub: undefined, sid: undefined }
      if (!sub || sub.length > 255) {
        throw new SignInRefused('the ID token has no usable subject', null)
      }
      return {
        subject: sub,
        issuerSession: typeof sid === 'string' && sid.length <= 255 ? sid : null,
        refreshToken: answer.refresh_token ?? null,
      }
    },

    async refresh(refreshToken) {
      const answer = await asking(oidc.refreshTokenGrant(await configured(), refreshToken))
      return answer.refresh_token ?? null
    },

    async signOutUrl() {
      const config = await configured().catch(() => null)
      if (!config?.serverMetadata().end_session_endpoint) return null
      // Without `id_token_hint`: no token goes through a browser, not even in an address.
      return oidc.buildEndSessionUrl(config, { post_logout_redirect_uri: publicUrl.href })
    },
  }

  function configured(): Promise<oidc.Configuration> {
    discovery ??= discover().catch((error: unknown) => {
      discovery = undefined
      log.warn({ err: error, issuer }, 'the issuer cannot be discovered')
      throw unavailable(error)
    })
    return discovery
  }

  async function discover(): Promise<oidc.Configuration> {
    const url = new URL(issuer)
    // Which `sessionSettings` lets be for loopback alone.
    const isPlain = url.protocol === 'http:'
    return oidc.discovery(url, clientId, clientSecret, authenticateBy(clientSecret), {
      timeout: TIMEOUT_SECONDS,
      // TLS vouches for the token endpoint; the signature is checked all the same.
      execute: [oidc.enableNonRepudiationChecks, ...(isPlain ? [oidc.allowInsecureRequests] : [])],
    })
  }
}

/** As the issuer supports it; by Basic unless it says otherwise (OpenID Connect Core, section 9). */
function authenticateBy(secret: string): oidc.ClientAuth {
  const [basic, post] = [oidc.ClientSecretBasic(secret), oidc.ClientSecretPost(secret)]
  return (server, client, body, headers) => {
    const supported = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const authenticate = supported.includes('client_secret_basic') ? basic : post
    authenticate(server, client, body, headers)
  }
}

async function asking<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!isVerdict(error)) throw unavailable(error)
    const code = isAnswer(error) ? error.error : null
    const reason = error instanceof Error ? error.message : 'unknown'
    throw new SignInRefused(code ? `the issuer said ${code}` : reason, code, { cause: error })
  }
}

type Answered = oidc.AuthorizationResponseError | oidc.ResponseBodyError

function isAnswer(error: unknown): error is Answered {
  return error instanceof oidc.AuthorizationResponseError || error instanceof oidc.ResponseBodyError
}

/** As opposed to a fault on the way, which says nothing about the sign-in. */
function isVerdict(error: unknown): boolean {
  if (error instanceof oidc.AuthorizationResponseError) return true
  if (error instanceof oidc.ResponseBodyError) return error.status < 500 && error.status !== 429
  return error instanceof oidc.ClientError && VERDICTS.has(error.code ?? '')
}

/** What came back is not the answer to what was asked, or not the issuer's. */
const VERDICTS = new Set([
  'OAUTH_INVALID_RESPONSE',
  'OAUTH_JWT_CLAIM_COMPARISON_FAILED',
  'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED',
  'OAUTH_JWT_TIMESTAMP_CHECK_FAILED',
  'OAUTH_KEY_SELECTION_FAILED',
])

function unavailable(cause: unknown): DomainError {
  return new DomainError('UNAVAILABLE', 'Sign-in cannot be done now: try again shortly', {
    cause,
    retryAfterSeconds: 2,
  })
}
