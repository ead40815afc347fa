import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Certificate } from './certificate.ts'

/** What browsers reach under one origin. */
export type Site = {
  readonly origin: string
  /** To where what is no page of this site's own goes: `http://127.0.0.1:4000`. */
  upstream: string | null
  close(): Promise<void>
}

export type SitePage = { readonly headers?: Record<string, string>; readonly body: string }

const HTML = { 'content-type': 'text/html; charset=utf-8' }

/**
 * A web server with a few pages, and before a gateway: HTTPS ends here, and a WebSocket goes through.
 *
 * @param pages by path, without their query
 * @param host another name of this machine makes another site of it
 */
export async function openSite({
  pages,
  certificate,
  host = '127.0.0.1',
}: {
  pages: Readonly<Record<string, SitePage>>
  certificate?: Certificate | undefined
  host?: string
}): Promise<Site> {
  const server = certificate ? https.createServer(certificate) : http.createServer()
  const sockets = new Set<Duplex>()
  server.on('connection', (socket: Duplex) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const page = pages[(request.url ?? '').split('?', 1)[0] ?? '']
    if (page && request.method === 'GET') {
      response.writeHead(200, page.headers ?? HTML).end(page.body)
    } else if (site.upstream) {
      forward(request, response, site.upstream)
    } else response.writeHead(404).end()
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (site.upstream) tunnel(request, socket, head, new URL(site.upstream))
    else socket.destroy()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const scheme = certificate ? 'https' : 'http'
  const site: Site = {
    origin: `${scheme}://${host}:${(server.address() as AddressInfo).port}`,
    upstream: null,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
  return site
}

function forward(request: IncomingMessage, response: ServerResponse, upstream: string): void {
  const { method, headers, url } = request
  const asked = http.request(`${upstream}${url}`, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
    answer.pipe(response)
  })
  asked.on('error', () => response.destroy())
  response.on('close', () => asked.destroy())
  request.pipe(asked)
}

function tunnel(
  { method, url, rawHeaders }: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  to: URL,
) {
  const other = net.connect(Number(to.port), to.hostname, () => {
    const headers = rawHeaders.map((it, i) => (i % 2 ? `${it}\r\n` : `${it}: `)).join('')
    other.write(`${method} ${url} HTTP/1.1\r\n${headers}\r\n`)
    other.write(head)
    socket.pipe(other).pipe(socket)
  })
  for (const one of [socket, other]) {
    one.on('error', () => one.destroy())
    one.on('close', () => (one === socket ? other : socket).destroy())
  }
}
