import { importSPKI, jwtVerify } from 'jose'
import { configuration } from './configuration.js'

const { pem, issuer, audience } = configuration
const MAX_TOKENS = 1_000
const key = await importSPKI(pem, 'RS256')
const verified = new Map()

/** The claims of a bearer token; those of a token seen before are kept until it expires. */
export function claimsOf(authorization) {
  const known = verified.get(authorization)
  return known && known.exp * 1000 > Date.now() ? known : verify(authorization)
}

async function verify(authorization = '') {
  const token = authorization.replace(/^Bearer /, '')
  const { payload } = await jwtVerify(token, key, { issuer, audience, algorithms: ['RS256'] })
  if (verified.size >= MAX_TOKENS) verified.clear()
  verified.set(authorization, payload)
  return payload
}
