import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { DomainError } from './errors.ts'
import type { HttpRequest } from './http.ts'
import { newUuid } from './ids.ts'
import type { Log } from './log.ts'
import { parseTraceparent } from './trace.ts'

/** A request as handlers see it. What few of them ask for is made when they do. */
export class IncomingRequest implements HttpRequest {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  readonly requestId: string
  readonly raw: IncomingMessage
  readonly #serverLog: Log
  readonly #maxBodyBytes: number
  #log: Log | undefined
  #target: Target | undefined
  #body: Promise<Buffer> | undefined

  constructor(raw: IncomingMessage, log: Log, maxBodyBytes: number) {
    this.method = raw.method ?? 'GET'
    this.headers = raw.headers
    this.requestId = requestIdOf(raw.headers['x-request-id'])
    this.raw = raw
    this.#serverLog = log
    this.#maxBodyBytes = maxBodyBytes
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

  get log(): Log {
    this.#log ??= this.#serverLog.child({ requestId: this.requestId })
    return this.#log
  }

  body(): Promise<Buffer> {
    this.#body ??= readBody(this.raw, this.#maxBodyBytes)
    return this.#body
  }

  #parsed(): Target {
    this.#target ??= targetOf(this.raw.url ?? '/')
    return this.#target
  }
}

/** A caller's id is kept only when it cannot break a log or a header. */
function requestIdOf(given: unknown): string {
  return typeof given === 'string' && /^[\w.-]{8,128}$/.test(given) ? given : newUuid()
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
