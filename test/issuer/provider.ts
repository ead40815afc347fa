import { randomBytes } from 'node:crypto'
import type { JWK } from 'jose'
import Provider, { type Configuration, errors, interactionPolicy } from 'oidc-provider'
import { createAdapter } from './adapter.ts'
import { SIGNING_ALGORITHM } from './keys.ts'
import { people } from './people.ts'
import { errorPage, pageHeaders } from './picker.ts'

/** What access tokens are for; their `aud` is `AUDIENCE`. */
export const RESOURCE = 'urn:berth'
export const AUDIENCE = 'berth'
export const COMMAND_LINE_CLIENT = 'berth-cli'
/** Any port will do at the authorization endpoint (RFC 8252 §7.3). */
export const COMMAND_LINE_REDIRECT = 'http://127.0.0.1/callback'

const HOUR = 3_600

/** OpenID Connect over `oidc-provider`: authorization code with PKCE, access tokens as JWTs. */
export function createProvider(issuer: string, jwks: { keys: JWK[] }): Provider {
  const policy = interactionPolicy.base()
  policy.remove('consent') // Picking a person is consent enough here.

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
    ],
    scopes: ['openid', 'profile'],
    claims: { openid: ['sub'], profile: ['name'] },
    responseTypes: ['code'],
    pkce: { required: () => true },
    interactions: { policy, url: (_context, { uid }) => `/interaction/${uid}` },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
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
