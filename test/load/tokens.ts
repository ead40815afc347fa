import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'

export type Tokens = {
  readonly issuer: string
  readonly audience: string
  /** The public key as a key set and in PEM: each contestant takes it in its own way. */
  readonly jwks: string
  readonly pem: string
  readonly tokens: readonly string[]
}

const PEOPLE = 50

/** Tokens of an hour for so many people. RS256: the cheapest to verify of what all contestants know. */
export async function createTokens(issuer: string): Promise<Tokens> {
  const audience = 'bench'
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' }
  const tokens = Array.from({ length: PEOPLE }, (_, index) =>
    new SignJWT({ name: `Person ${index}` })
      .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(`person-${index}`)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey),
  )
  return {
    issuer,
    audience,
    jwks: JSON.stringify({ keys: [jwk] }),
    pem: await exportSPKI(publicKey),
    tokens: await Promise.all(tokens),
  }
}
