/**
 * The three subgraphs and the issuer of the tokens, in one process: `node subgraphs.ts CATALOG SUPPLY
 * REVIEWS ISSUER JWKS`, four ports and the issuer's key set. Lean, so that it is never what is measured.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { federation1, SERVICES, type Service } from './graph.ts'
import { type Answerer, compileSelection, type Variables } from './selection.ts'

/** Texts of operations that are kept compiled: some gateways send ever new ones. */
const MAX_TEXTS = 1_000

const [issuerPort = '', jwks = ''] = process.argv.slice(5)
for (const [index, service] of SERVICES.entries()) {
  await listen(answer(service), Number(process.argv[2 + index]))
}
await listen(issue, Number(issuerPort))
console.log('ready')

function answer(service: Service) {
  const texts = new Map<string, Answerer>()
  return (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      // Every contestant passes on who asks: what a subgraph behind a gateway goes by.
      const isKnown = request.headers.authorization?.startsWith('Bearer ey')
      const body = Buffer.concat(chunks).toString()
      const text = isKnown || body.includes('_service') ? textOf(body) : REFUSED
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      })
      response.end(text)
    })
  }

  function textOf(body: string): string {
    try {
      const { query, variables } = JSON.parse(body) as { query: string; variables?: Variables }
      let answerer = texts.get(query)
      if (!answerer) {
        answerer = compileSelection(query, federation1[service])
        if (texts.size >= MAX_TEXTS) texts.clear()
        texts.set(query, answerer)
      }
      return `{"data":${answerer(variables ?? {})}}`
    } catch (error) {
      return JSON.stringify({ errors: [{ message: `${error}: ${body.slice(0, 500)}` }] })
    }
  }
}

const REFUSED = '{"errors":[{"message":"no credential was passed on"}]}'

function issue({ url }: IncomingMessage, response: ServerResponse): void {
  const issuer = `http://127.0.0.1:${issuerPort}`
  const isDiscovery = url === '/.well-known/openid-configuration'
  response.setHeader('content-type', 'application/json')
  response.end(isDiscovery ? JSON.stringify({ issuer, jwks_uri: `${issuer}/jwks` }) : jwks)
}

function listen(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  port: number,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const server = createServer({ keepAliveTimeout: 120_000 }, handle)
  server.listen(port, '127.0.0.1', resolve)
  return promise
}
