import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
} from 'jose'

export const AUDIENCE = 'berth'

export type TestIssuer = AsyncDisposable & {
  readonly url: string
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK & { kid: string }
  /** A token of this subject, good for five minutes, but for what is given otherwise. */
  token(subject: string, otherwise?: TokenFields): Promise<string>
  /** Publishes these keys from now on, or whatever it is. */
  publish(keySet: unknown): void
  /** How often its keys were fetched. */
  fetches(): number
  /** Fetches of its keys wait from now on: those that come after `pass` do not, the others for `answer`. */
  hold(): { pass(): void; answer(): void }
  /** Refuses connections from now on. */
  stop(): Promise<void>
}

export type TokenFields = {
  issuer?: string
  audience?: string
  issuedAt?: number
  notBefore?: number
  /** Seconds from now. */
  expiresIn?: number
  header?: Partial<JWTHeaderParameters>
  key?: CryptoKey | Uint8Array
}

/** An OpenID Connect issuer: discovery, one ES256 key, and tokens. */
export async function openIssuer(): Promise<TestIssuer> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const publicJwk = { ...(await exportJWK(publicKey)), kid: 'key-1', alg: 'ES256', use: 'sig' }
  let published: unknown = { keys: [publicJwk] }
  let fetches = 0
  let gate: Promise<void> | undefined
  const server = createServer((request, response) => void serve(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bodies: Record<string, unknown> = {
      '/.well-known/openid-configuration': { issuer: url, jwks_uri: `${url}/jwks` },
      '/jwks': published,
    }
    if (request.url === '/jwks') {
      fetches++
      // As they were when they were asked for.
      await gate
    }
    const body = bodies[request.url ?? '']
    response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body ?? {}))
  }

  async function stop(): Promise<void> {
    if (!server.listening) return
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
  return {
    url,
    privateKey,
    publicJwk,
    stop,
    publish(keySet) {
      published = keySet
    },
    fetches: () => fetches,
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      return {
        pass() {
          gate = undefined
        },
        answer: resolve,
      }
    },
    [Symbol.asyncDispose]: stop,
    token(subject, otherwise = {}) {
      const now = Math.floor(Date.now() / 1000)
      const jwt = new SignJWT({})
        .setProtectedHeader({ alg: 'ES256', kid: publicJwk.kid, ...otherwise.header })
        .setSubject(subject)
        .setIssuer(otherwise.issuer ?? url)
        .setAudience(otherwise.audience ?? AUDIENCE)
        .setIssuedAt(otherwise.issuedAt ?? now)
        .setExpirationTime(now + (otherwise.expiresIn ?? 300))
      if (otherwise.notBefore !== undefined) jwt.setNotBefore(otherwise.notBefore)
      return jwt.sign(otherwise.key ?? privateKey)
    },
  }
}
