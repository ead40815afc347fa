import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Log } from '@berth/platform/log'
import type Provider from 'oidc-provider'
import { loadSigningKeys } from './keys.ts'
import { parsePerson } from './people.ts'
import { pageHeaders, pickerPage } from './picker.ts'
import { type BrowserClient, createProvider } from './provider.ts'

export type Issuer = {
  /** What tokens name as `iss`. */
  url: string
  close(): Promise<void>
}

type Options = {
  /** A loopback address. */
  host: string
  /** 0 for any that is free. */
  port: number
  stateDirectory: string
  /** Without one, nobody signs in for a browser. */
  browserClient?: BrowserClient | undefined
  /** What was asked of the token endpoint and issued there: for tests that look for it elsewhere. */
  onGrant?: (grant: object) => void
  log: Pick<Log, 'error'>
}

/**
 * An OpenID provider for development: it signs anybody in as whom they pick. Whoever reaches it is
 * an operator, so it listens on loopback alone and answers to no other name.
 */
export async function startIssuer({
  host,
  port,
  stateDirectory,
  browserClient,
  onGrant,
  log,
}: Options): Promise<Issuer> {
  const keys = await loadSigningKeys(stateDirectory)
  const server = createServer()
  await once(server.listen(port, host), 'listening')
  const authority = `${host}:${(server.address() as AddressInfo).port}`
  const provider = createProvider(`http://${authority}`, keys, browserClient)
  provider.on('server_error', (_context, error) => log.error({ err: error }, 'issuer failed'))
  provider.on('backchannel.error', (_context, error) => {
    log.error({ err: error }, 'a client could not be told of a sign-out')
  })
  if (onGrant) {
    provider.on('grant.success', ({ body, oidc }) => onGrant({ ...oidc.params, ...Object(body) }))
  }
  server.on('request', createHandler(provider, authority, log))
  return {
    url: provider.issuer,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

function createHandler(provider: Provider, authority: string, log: Options['log']) {
  const serve = provider.callback()
  return (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? '/', 'http://issuer')
    // A page whose name was rebound to this address must not sign in here.
    if (request.headers.host !== authority) return answer(response, 421, 'Wrong host\n')
    if (pathname === '/healthz' || pathname === '/readyz') return answer(response, 200, 'ok\n')
    if (!pathname.startsWith('/interaction/')) return void serve(request, response)
    interact(provider, request, response).catch((error: unknown) => {
      log.error({ err: error }, 'sign-in page failed')
      if (!response.headersSent) answer(response, 500, 'The sign-in failed: start it again\n')
    })
  }
}

async function interact(provider: Provider, request: IncomingMessage, response: ServerResponse) {
  const interaction = await provider.interactionDetails(request, response).catch(() => null)
  if (!interaction) return answer(response, 400, 'This sign-in is over: start it again\n')
  if (request.method !== 'POST') {
    return void response.writeHead(200, pageHeaders).end(pickerPage(interaction.uid))
  }
  const form = new URLSearchParams(await readBody(request))
  try {
    const accountId = parsePerson(form.get('person') ?? undefined)
    await provider.interactionFinished(request, response, { login: { accountId } })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    answer(response, 400, `${error.message}\n`)
  }
}

const BODY_MAX_BYTES = 1_024

async function readBody(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk
    if (body.length > BODY_MAX_BYTES) throw new RangeError('This form is too long')
  }
  return body
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(text)
}
