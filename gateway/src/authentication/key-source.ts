import { z } from 'zod'
import { type KeySet, parseKeySet } from './key-set.ts'

/** Where the keys of an issuer are had. */
export type KeySource = {
  /**
   * The keys as they are published now.
   *
   * @param isRediscovered asks the issuer again where they are
   * @throws {KeysMalformed} for what is no key set; another error when there is no answer
   */
  fetch(how?: { isRediscovered?: boolean }): Promise<KeySet>
}

/** There is an answer, and it is of no use. */
export class KeysMalformed extends Error {
  override readonly name = 'KeysMalformed'
}

const TIMEOUT_MS = 3_000
const MAX_BYTES = 256 * 1024

const Discovery = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) })

/**
 * An OpenID Connect issuer's: found by discovery (OpenID Connect Discovery 1.0, section 4) when they
 * are first needed.
 *
 * @param keysUrl of the key set: it is not discovered then
 */
export function createKeySource({
  issuer,
  keysUrl,
}: {
  issuer: string
  keysUrl?: string | undefined
}): KeySource {
  let known = keysUrl
  return {
    async fetch({ isRediscovered = false } = {}) {
      const signal = AbortSignal.timeout(TIMEOUT_MS)
      const url =
        known === undefined || (isRediscovered && keysUrl === undefined)
          ? await discover(issuer, signal)
          : known
      const json = await readJson(url, signal)
      const set = await parseKeySet(json).catch((cause: unknown) => {
        throw new KeysMalformed('the issuer’s key set is of no use', { cause })
      })
      known = url
      return set
    },
  }
}

async function discover(issuer: string, signal: AbortSignal): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const found = Discovery.safeParse(await readJson(url, signal))
  if (!found.success) throw new KeysMalformed('discovery names no key set', { cause: found.error })
  // Section 4.3: else one issuer could vouch for the tokens of another.
  if (found.data.issuer !== issuer) throw new KeysMalformed('discovery names another issuer')
  const { jwks_uri: keys } = found.data
  if (issuer.startsWith('https:') && !keys.startsWith('https:')) {
    throw new KeysMalformed('discovery names keys without TLS')
  }
  return keys
}

/** A redirect is none of the issuer's addresses, and an error. */
async function readJson(url: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetch(url, {
    signal,
    redirect: 'error',
    headers: { accept: 'application/json, application/jwk-set+json' },
  })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`the issuer answered ${response.status}`)
  }
  const text = await readText(response)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new KeysMalformed('the issuer’s answer is no JSON', { cause })
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    // Leaving the loop ends the download.
    if (bytes > MAX_BYTES) throw new KeysMalformed(`the issuer’s answer exceeds ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
