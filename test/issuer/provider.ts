import { randomBytes } from 'node:crypto'
import type { JWK } from 'jose'
import Provider, {
  type ClientMetadata,
  type Configuration,
  errors,
  interactionPolicy,
} from 'oidc-provider'
import { createAdapter } from './adapter.ts'
import { SIGNING_ALGORITHM } from './keys.ts'
import { people } from './people.ts'
import { errorPage, pageHeaders, signedOutPage, signOutPage } from './picker.ts'

/** What access tokens are for; their `aud` is `AUDIENCE`. */
export const RESOURCE = 'urn:berth'
export const AUDIENCE = 'berth'
export const COMMAND_LINE_CLIENT = 'berth-cli'
/** Any port will do at the authorization endpoint (RFC 8252 §7.3). */
export const COMMAND_LINE_REDIRECT = 'http://127.0.0.1/callback'

const HOUR = 3_600

/** The gateway, which keeps a secret and signs people in for browsers. */
export type BrowserClient = {
  readonly id: string
  readonly secret: string
  /** Where browsers reach it. */
  readonly publicUrl: string
}

/** OpenID Connect over `oidc-provider`: authorization code with PKCE, access tokens as JWTs. */
export function createProvider(
  issuer: string,
  jwks: { keys: JWK[] },
  browserClient?: BrowserClient,
): Provider {
  const policy = interactionPolicy.base()
  policy.remove('consent') // Picking a person is consent enough here.

  const signOutUri = browserClient && signOutUriOf(browserClient)
  const configuration: Configuration = {
    adapter: createAdapter(),
    jwks: jwks as NonNullable<Configuration['jwks']>,
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    clients: [
      {
        client_id: COMMAND_LINE_CLIENT,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        response_types: ['code'],
        redirect_uris: [COMMAND_LINE_REDIRECT],
        id_token_signed_response_alg: SIGNING_ALGORITHM,
      },
      ...(browserClient ? [browserClientMetadata(browserClient)] : []),
    ],
    scopes: ['openid', 'profile'],
    claims: { openid: ['sub'], profile: ['name'] },
    responseTypes: ['code'],
    pkce: { required: () => true },
    interactions: { policy, url: (_context, { uid }) => `/interaction/${uid}` },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: browserClient !== undefined,
        logoutSource(context, form) {
          context.set(pageHeaders)
          context.body = signOutPage(form)
        },
        postLogoutSuccessSource(context) {
          context.set(pageHeaders)
          context.body = signedOutPage()
        },
      },
      backchannelLogout: { enabled: browserClient !== undefined },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo(_context, resource) {
          if (resource !== RESOURCE) throw new errors.InvalidTarget()
          return {
            scope: '',
            audience: AUDIENCE,
            accessTokenTTL: HOUR,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: SIGNING_ALGORITHM } },
          }
        },
      },
    },
    ttl: {
      AccessToken: HOUR,
      IdToken: HOUR,
      Interaction: HOUR,
      Session: 12 * HOUR,
      Grant: 12 * HOUR,
    },
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    // Its guard against special addresses refuses loopback, where the gateway is, and nothing else.
    fetch: (url, options) =>
      fetch(url, url === signOutUri ? ({ ...options, dispatcher: undefined } as object) : options),
    clientBasedCORS: () => false,
    findAccount(_context, subject) {
      const person = people.find((it) => it.subject === subject)
      return person && { accountId: subject, claims: () => ({ sub: subject, name: person.name }) }
    },
    async loadExistingGrant({ oidc }) {
      const accountId = oidc.session?.accountId
      const clientId = oidc.client?.clientId
      if (!accountId || !clientId) return undefined
      const grant = new provider.Grant({ accountId, clientId })
      grant.addOIDCScope('openid profile')
      await grant.save()
      return grant
    },
    renderError(context, { error, error_description }) {
      context.set(pageHeaders)
      context.body = errorPage(error, error_description)
    },
  }
  const provider = new Provider(issuer, configuration)
  return provider
}

function signOutUriOf({ publicUrl }: Pick<BrowserClient, 'publicUrl'>): string {
  return new URL('/auth/backchannel-logout', publicUrl).href
}

function browserClientMetadata({ id, secret, publicUrl }: BrowserClient): ClientMetadata {
  const at = (path: string) => new URL(path, publicUrl).href
  return {
    client_id: id,
    client_secret: secret,
    application_type: 'web',
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [at('/auth/callback')],
    post_logout_redirect_uris: [at('/')],
    backchannel_logout_uri: signOutUriOf({ publicUrl }),
    backchannel_logout_session_required: true,
    id_token_signed_response_alg: SIGNING_ALGORITHM,
  }
}
