import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { ClientAddress } from './client-address.ts'
import { DomainError } from './errors.ts'
import type { HttpRequest } from './http.ts'
import type { Log } from './log.ts'
import { parseTraceparent } from './trace.ts'

/** What all requests of a server have in common. */
type RequestOptions = {
  readonly log: Log
  readonly maxBodyBytes: number
  readonly clientAddress: ClientAddress
}

/** A request as handlers see it. What few of them ask for is made when they do. */
export class IncomingRequest implements HttpRequest {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  readonly requestId: string
  readonly raw: IncomingMessage
  readonly #of: RequestOptions
  #log: Log | undefined
  #target: Target | undefined
  #body: Promise<Buffer> | undefined
  #clientIp: string | undefined

  constructor(raw: IncomingMessage, of: RequestOptions) {
    this.method = raw.method ?? 'GET'
    this.headers = raw.headers
    this.requestId = requestIdOf(raw.headers['x-request-id'])
    this.raw = raw
    this.#of = of
  }

  /** @throws {DomainError} BAD_INPUT when the address is malformed */
  get path(): string {
    return this.#parsed().path
  }

  get query(): URLSearchParams {
    return this.#parsed().query ?? new URLSearchParams()
  }

  get traceparent(): string | null {
    return parseTraceparent(this.headers.traceparent)
  }

  get clientIp(): string {
    this.#clientIp ??= this.#of.clientAddress(this.raw)
    return this.#clientIp
  }

  get log(): Log {
    this.#log ??= this.#of.log.child({ requestId: this.requestId })
    return this.#log
  }

  body(): Promise<Buffer> {
    this.#body ??= readBody(this.raw, this.#of.maxBodyBytes)
    return this.#body
  }

  #parsed(): Target {
    this.#target ??= targetOf(this.raw.url ?? '/')
    return this.#target
  }
}

/** A caller's id is kept only when it cannot break a log or a header. */
function requestIdOf(given: unknown): string {
  return typeof given === 'string' && /^[\w.-]{8,128}$/.test(given) ? given : randomUUID()
}

type Target = { readonly path: string; readonly query: URLSearchParams | null }

/** What `URL` would leave as it is. */
const PLAIN_PATH = /^(?:\/[\w-]+)+$/

function targetOf(url: string): Target {
  if (PLAIN_PATH.test(url)) return { path: url, query: null }
  const { pathname, searchParams } = URL.parse(url, 'http://localhost') ?? {}
  if (!pathname || !searchParams) throw new DomainError('BAD_INPUT', 'The address is malformed')
  return { path: pathname, query: searchParams }
}

/** By events: an iterator over the stream would cost more than all else here. */
function readBody(raw: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // Not made beforehand: an error takes its stack with it.
    const tooLarge = () => new DomainError('TOO_LARGE', `The body exceeds ${maxBytes} bytes`)
    const brokenOff = () => new Error('the request broke off', { cause: raw.errored })
    if (Number(raw.headers['content-length'] ?? 0) > maxBytes) {
      reject(tooLarge())
      return
    }
    if (raw.destroyed) {
      reject(brokenOff())
      return
    }
    let chunks: Buffer[] = []
    let bytes = 0
    raw.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= maxBytes) chunks.push(chunk)
      else {
        chunks = []
        reject(tooLarge())
      }
    })
    raw.on('end', () => {
      const [only] = chunks
      resolve(only && chunks.length === 1 ? only : Buffer.concat(chunks))
    })
    raw.on('error', reject)
    raw.on('close', () => {
      if (!raw.readableEnded) reject(brokenOff())
    })
  })
}
