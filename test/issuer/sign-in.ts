import { createHash, randomBytes } from 'node:crypto'
import type { Person } from './people.ts'
import { COMMAND_LINE_CLIENT, COMMAND_LINE_REDIRECT, RESOURCE } from './provider.ts'

const REDIRECTS_MAX = 10
const TIMEOUT_MS = 10_000

/**
 * Signs a development person in as a browser would: authorization code with PKCE, cookies, and a
 * click on the person.
 *
 * @returns the access token, valid for an hour
 * @throws {Error} when the issuer does not answer or refuses
 */
export async function signIn(issuerUrl: string, person: Person): Promise<string> {
  const browse = createBrowser()
  const verifier = randomBytes(32).toString('base64url')
  const state = randomBytes(16).toString('base64url')
  const authorization = new URL('/auth', issuerUrl)
  authorization.search = new URLSearchParams({
    client_id: COMMAND_LINE_CLIENT,
    redirect_uri: COMMAND_LINE_REDIRECT,
    response_type: 'code',
    scope: 'openid profile',
    resource: RESOURCE,
    state,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }).toString()

  const picker = await browse(authorization)
  if (picker.status !== 200) throw new Error(`The issuer refused to begin: ${picker.status}`)
  const returned = await browse(picker.url, new URLSearchParams({ person }))
  const { searchParams } = returned.url
  const code = searchParams.get('code')
  if (!code || searchParams.get('state') !== state) {
    throw new Error(`The issuer gave no code: ${searchParams.get('error') ?? returned.status}`)
  }
  const response = await fetch(new URL('/token', issuerUrl), {
    method: 'POST',
    signal: AbortSignal.timeout(TIMEOUT_MS),
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: COMMAND_LINE_CLIENT,
      redirect_uri: COMMAND_LINE_REDIRECT,
      code,
      code_verifier: verifier,
    }),
  })
  const answer = (await response.json()) as { access_token?: string; error?: string }
  if (!answer.access_token) throw new Error(`The issuer gave no token: ${answer.error}`)
  return answer.access_token
}

type Page = { url: URL; status: number }

/** Follows redirects with a cookie jar, up to a page or to the client's own redirect URI. */
function createBrowser(): (url: URL, form?: URLSearchParams) => Promise<Page> {
  const cookies = new Map<string, string>()
  return async (start, form) => {
    let url = start
    let body = form
    for (let n = 0; n < REDIRECTS_MAX; n += 1) {
      const response = await fetch(url, {
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
        ...(body ? { method: 'POST', body } : {}),
      })
      await response.arrayBuffer()
      for (const cookie of response.headers.getSetCookie()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
        if (value) cookies.set(name, value)
        else cookies.delete(name)
      }
      const location = response.headers.get('location')
      if (!location) return { url, status: response.status }
      url = new URL(location, url)
      body = undefined
      if (url.href.startsWith(COMMAND_LINE_REDIRECT)) return { url, status: response.status }
    }
    throw new Error('The issuer redirects without end')
  }
}
