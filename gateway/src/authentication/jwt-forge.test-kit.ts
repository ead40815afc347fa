import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import {
  base64url,
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTPayload,
  SignJWT,
} from 'jose'
import { AUDIENCE, type TestIssuer } from '../../test-subgraphs/issuer.ts'

let issuer: TestIssuer
let ownKey: ReturnType<typeof createPrivateKey>
/** By kid: good keys of other kinds that the issuer publishes as well. */
const others = new Map<string, CryptoKey>()
/** One that it publishes by mistake. */
let weakKey: string

/** What is forged from now on is a forgery of this issuer's; it publishes more keys, to be confused. */
export async function forgeFor(target: TestIssuer): Promise<void> {
  issuer = target
  ownKey = createPrivateKey({ key: (await exportJWK(target.privateKey)) as never, format: 'jwk' })
  const published: JWK[] = [target.publicJwk]
  for (const [kid, alg] of Object.entries({
    'rsa-1': 'RS256',
    'p384-1': 'ES384',
    'ed-1': 'EdDSA',
  })) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
    others.set(kid, privateKey)
    published.push({ ...(await exportJWK(publicKey)), kid })
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
  weakKey = String(rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  published.push({ ...(rsa.publicKey.export({ format: 'jwk' }) as JWK), kid: 'weak-1' })
  target.publish({ keys: published })
}

export const now = () => Math.floor(Date.now() / 1000)
export const encode = (value: unknown) => base64url.encode(JSON.stringify(value))
export const good = () => issuer.token('user')

/** Claims as the issuer makes them, but for these; undefined leaves one out. */
export const claims = (otherwise: Record<string, unknown> = {}) => ({
  sub: 'user',
  iss: issuer.url,
  aud: AUDIENCE,
  iat: now(),
  exp: now() + 300,
  ...otherwise,
})

/** What the issuer itself has signed, whatever it says. */
export function signed(
  payload: Record<string, unknown> | string,
  header: Record<string, unknown> | string = {},
): string {
  const head =
    typeof header === 'string' ? header : JSON.stringify({ alg: 'ES256', kid: 'key-1', ...header })
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload)
  const input = `${base64url.encode(head)}.${base64url.encode(body)}`
  const signature = sign('sha256', Buffer.from(input), { key: ownKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

/** Their own key, under a header that tells where it is, or what it is. */
export async function forged(header: (jwk: JWK) => Record<string, unknown>): Promise<string> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = await exportJWK(publicKey)
  return new SignJWT(claims() as JWTPayload)
    .setProtectedHeader({ alg: 'ES256', kid: 'key-1', ...header(jwk) })
    .sign(privateKey)
}

export const publicKey = () => createPublicKey({ key: issuer.publicJwk as never, format: 'jwk' })
export const hs256 = (secret: Uint8Array | string, kid = 'key-1') =>
  new SignJWT(claims() as JWTPayload)
    .setProtectedHeader({ alg: 'HS256', kid })
    .sign(typeof secret === 'string' ? new TextEncoder().encode(secret) : secret)

export const unsigned = (alg: string) => `${encode({ alg, kid: 'key-1' })}.${encode(claims())}.`
export const withSignature = async (signature: Buffer) =>
  `${(await good()).split('.').slice(0, 2).join('.')}.${signature.toString('base64url')}`

/** Of P-256: both halves of a signature must be less. */
export const ORDER = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'

/** Nothing is there: what asks it would be seen in the log, and take its time. */
export function trap(): string {
  return 'http://127.0.0.1:1'
}

export function of(kid: string, alg: string): Promise<string> {
  const key = others.get(kid) as CryptoKey
  return new SignJWT(claims() as JWTPayload).setProtectedHeader({ alg, kid }).sign(key)
}

export function signedRsa(): string {
  const input = `${encode({ alg: 'RS256', kid: 'weak-1' })}.${encode(claims())}`
  return `${input}.${sign('sha256', Buffer.from(input), weakKey).toString('base64url')}`
}

export function signedDer(): string {
  const input = `${encode({ alg: 'ES256', kid: 'key-1' })}.${encode(claims())}`
  return `${input}.${sign('sha256', Buffer.from(input), ownKey).toString('base64url')}`
}

export async function withMore(): Promise<string> {
  const signature = Buffer.from((await good()).split('.')[2] ?? '', 'base64url')
  return withSignature(Buffer.concat([signature, Buffer.alloc(8)]))
}

export const issuerUrl = () => issuer.url
export const publicJwk = () => issuer.publicJwk
