import { DomainError } from '@berth/platform/errors'
import type { Dispatcher } from 'undici'

/** Who is told how an exchange ended: by either, once, also of one that was abandoned. */
export type ExchangeOwner = {
  answered(exchange: Exchange, status: number, bytes: Buffer): void
  failed(exchange: Exchange, error: Error): void
}

type Controller = Dispatcher.DispatchController

/**
 * One request and its answer, as undici tells of them. This is undici's lowest interface: no
 * stream, no promise and no AbortSignal are made for a call.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  /** False: not one byte of it has left, whatever went wrong. */
  isSent = false
  /** Whether the other side has begun to answer. */
  isAnswering = false
  readonly #owner: ExchangeOwner
  readonly #service: string
  readonly #maxBytes: number
  #controller: Controller | null = null
  #status = 0
  #bytes = 0
  #first: Buffer | null = null
  #rest: Buffer[] | null = null
  #isAbandoned = false

  constructor(owner: ExchangeOwner, service: string, maxBytes: number) {
    this.#owner = owner
    this.#service = service
    this.#maxBytes = maxBytes
  }

  /** Nobody waits for it any more. What is on the way is broken off, and its connection with it. */
  abandon(): void {
    this.#isAbandoned = true
    this.#controller?.abort(ABANDONED)
  }

  onRequestStart(controller: Controller): void {
    // It waited for a connection for too long. Thrown, because `abort` would end the connection.
    if (this.#isAbandoned) throw ABANDONED
    this.isSent = true
    this.#controller = controller
  }

  onResponseStart(
    _controller: Controller,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.isAnswering = true
    this.#status = status
    const encoding = headers['content-encoding']
    // None was asked for: unpacking it would be an answer of any size.
    if (encoding !== undefined && encoding !== 'identity') {
      throw new ProtocolError(`${this.#service} answered with the content-encoding ${encoding}`)
    }
    const length = headers['content-length']
    if (length !== undefined && Number(length) > this.#maxBytes) throw this.#tooLarge()
  }

  // What is thrown here ends the connection, and with it the rest of the answer.
  onResponseData(_controller: Controller, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > this.#maxBytes) throw this.#tooLarge()
    if (this.#first === null) this.#first = chunk
    else if (this.#rest === null) this.#rest = [this.#first, chunk]
    else this.#rest.push(chunk)
  }

  onResponseEnd(): void {
    const first = this.#first
    const rest = this.#rest
    this.#first = null
    this.#rest = null
    this.#controller = null
    const bytes = rest ? Buffer.concat(rest, this.#bytes) : (first ?? NOTHING)
    this.#owner.answered(this, this.#status, bytes)
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    this.#first = null
    this.#rest = null
    this.#controller = null
    this.#owner.failed(this, error)
  }

  #tooLarge(): DomainError {
    return new DomainError(
      'TOO_COMPLEX',
      `${this.#service} answered more than ${this.#maxBytes} bytes: ask for less`,
    )
  }
}

/** An answer that is not as HTTP or GraphQL have it. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

const NOTHING = Buffer.alloc(0)
const ABANDONED = new Error('nobody waits for this answer any more')
