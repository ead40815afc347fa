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
    const key = names.length === 0 ? '' : JSON.stringify(headers)
    return new ForwardedHeaders(headers, key, isShared ? key : `own ${++lastOwn}`)
  }
}

class ForwardedHeaders implements Credentials {
  readonly sharingKey: string
  readonly #headers: Record<string, string>
  readonly #socketKey: string

  constructor(headers: Record<string, string>, socketKey: string, sharingKey: string) {
    this.#headers = headers
    this.#socketKey = socketKey
    this.sharingKey = sharingKey
  }

  /** Nothing is known of what an answer depends on, beside what `sharingKey` says. */
  narrow(): Credentials {
    return this
  }

  headers(): Record<string, string> {
    return this.#headers
  }

  async subscription() {
    const isEmpty = Object.keys(this.#headers).length === 0
    return {
      extensions: {},
      socketKey: this.#socketKey,
      socketHeaders: this.#headers,
      ...(isEmpty ? {} : { connectionParams: this.#headers }),
      expiresAt: null,
    }
  }
}
