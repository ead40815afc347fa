import { createPrivateKey, createPublicKey, type JsonWebKey, sign, verify } from 'node:crypto'
import { type PrivateJwk, serviceOfKid } from '@berth/platform/trusted-keys'
import { canonicalJson } from './canonical-json.ts'

/** Where a chain (`*`) or a trail stood. */
export type Checkpoint = {
  readonly domain: string
  readonly trail: string
  readonly position: number
  /** Of the last link or entry, in hexadecimal. */
  readonly hash: string
  /** When it was signed, RFC 3339. */
  readonly at: string
}

/** Public keys by which a statement can be checked, as in `services.jwks.json`. */
export type PublicKeys = { readonly keys: readonly (JsonWebKey & { kid?: string })[] }

const TYP = 'berth-audit-checkpoint'
const SIGNER = 'policy'

/** Signs checkpoints with policy's own key: compact JWS (RFC 7515, EdDSA) over canonical JSON. */
export function createCheckpointSigner(privateJwk: PrivateJwk): (it: Checkpoint) => string {
  const key = createPrivateKey({ key: privateJwk as JsonWebKey, format: 'jwk' })
  const header = base64url(canonicalJson({ alg: 'EdDSA', kid: privateJwk.kid, typ: TYP }))
  return (checkpoint) => {
    const signed = `${header}.${base64url(canonicalJson(checkpoint))}`
    return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`
  }
}

/**
 * Checks a statement against the keys of policy among these; other services' keys sign none.
 *
 * @returns null when no such key signed it
 */
export function readCheckpoint(statement: string, { keys }: PublicKeys): Checkpoint | null {
  try {
    const [header = '', payload = '', signature = '', ...rest] = statement.split('.')
    const { alg, kid, typ } = decoded(header) as Record<string, unknown>
    const jwk = keys.find((it) => it.kid === kid)
    if (rest.length > 0 || alg !== 'EdDSA' || typ !== TYP || !jwk) return null
    if (serviceOfKid(String(kid)) !== SIGNER) return null
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    const signed = Buffer.from(`${header}.${payload}`)
    if (!verify(null, signed, key, Buffer.from(signature, 'base64url'))) return null
    return decoded(payload) as Checkpoint
  } catch {
    return null
  }
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function decoded(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString())
}
