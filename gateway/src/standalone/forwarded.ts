import type { IncomingHttpHeaders } from 'node:http'
import type { Credentials } from '../federation/credentials.ts'

/**
 * What subgraphs are told of who asks: these headers as they came, over HTTP with every call, and on
 * the socket of a subscription (as headers of its handshake and as its `connection_init` payload).
 *
 * @param isShared whether those who send the same headers must get the same answers
 */
export function createForwarding(
  names: readonly string[],
  { isShared }: { isShared: boolean },
): (headers: IncomingHttpHeaders) => Credentials {
  let lastOwn = 0
  return (incoming) => {
    const headers: Record<string, string> = {}
    for (const name of names) {
      const value = incoming[name]
      if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
    }
    return new ForwardedHeaders(headers, isShared ? null : `own ${++lastOwn}`)
  }
}

class ForwardedHeaders implements Credentials {
  readonly isAlone: boolean
  readonly #headers: Record<string, string>
  readonly #ownKey: string | null

  /** @param ownKey of nobody else; null: those with the same headers are alike */
  constructor(headers: Record<string, string>, ownKey: string | null) {
    this.isAlone = ownKey !== null
    this.#headers = headers
    this.#ownKey = ownKey
  }

  get sharingKey(): string {
    return this.#ownKey ?? this.#socketKey
  }

  get #socketKey(): string {
    return this.#isEmpty ? '' : JSON.stringify(this.#headers)
  }

  get #isEmpty(): boolean {
    return Object.keys(this.#headers).length === 0
  }

  /** Nothing is known of what an answer depends on, beside what `sharingKey` says. */
  narrow(): Credentials {
    return this
  }

  headers(): Record<string, string> {
    return this.#headers
  }

  async subscription() {
    return {
      extensions: {},
      socketKey: this.#socketKey,
      socketHeaders: this.#headers,
      ...(this.#isEmpty ? {} : { connectionParams: this.#headers }),
      expiresAt: null,
    }
  }
}
