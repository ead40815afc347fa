import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'

type Variables = Record<string, unknown>
export type GraphError = {
  message: string
  path?: (string | number)[]
  extensions?: { code?: string; requestId?: string; retryable?: boolean }
}
export type Answer<T> = { status: number; data: T | null; errors: GraphError[] }

/** The first error of an answer. */
export class OperationFailed extends Error {
  override readonly name = 'OperationFailed'
  readonly code: string | undefined
  readonly isRetryable: boolean

  constructor({ message, extensions }: GraphError) {
    super(`${extensions?.code}: ${message}`)
    this.code = extensions?.code
    this.isRetryable = extensions?.retryable === true
  }
}

/** A graph client as a program would write it: fetch for operations, graphql-ws for subscriptions. */
export type GraphClient = {
  /** Never throws on GraphQL errors: they are part of the answer. */
  ask<T>(query: string, variables?: Variables, idempotencyKey?: string): Promise<Answer<T>>
  /** @throws {OperationFailed} */
  get<T>(query: string, variables?: Variables, idempotencyKey?: string): Promise<T>
  /** Ends when the server completes it, on error, or when `return()` is called. */
  subscribe<T>(query: string, variables?: Variables): AsyncIterableIterator<T>
  close(): Promise<void>
}

/** @param url the gateway's, `http://127.0.0.1:4000/graphql` */
export function graphClient(url: string, token: string | null): GraphClient {
  const authorization = token ? { authorization: `Bearer ${token}` } : {}
  const socket = createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: authorization,
    // Its own retry repeats a subscription from where it began; ours goes on from the last cursor.
    retryAttempts: 0,
  })

  async function ask<T>(
    query: string,
    variables: Variables = {},
    key?: string,
  ): Promise<Answer<T>> {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...authorization,
        ...(key ? { 'idempotency-key': key } : {}),
      },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(30_000),
    })
    const body = (await response.json()) as { data?: T; errors?: GraphError[] }
    return { status: response.status, data: body.data ?? null, errors: body.errors ?? [] }
  }

  return {
    ask,
    async get<T>(query: string, variables?: Variables, key?: string) {
      const { data, errors } = await ask<T>(query, variables, key)
      const [first] = errors
      if (first) throw new OperationFailed(first)
      return data as T
    },
    subscribe<T>(query: string, variables: Variables = {}) {
      return events<T>(socket.iterate<T>({ query, variables }))
    },
    close: async () => await socket.dispose(),
  }
}

/** A plain iterator and no generator, so that `return()` ends it at once, also while it waits. */
function events<T>(
  results: AsyncIterableIterator<{
    data?: T | null | undefined
    errors?: readonly { message: string }[] | undefined
  }>,
): AsyncIterableIterator<T> {
  const iterator: AsyncIterableIterator<T> = {
    async next() {
      const { done, value } = await results.next()
      if (done) return { done: true, value: undefined }
      if (value.errors?.[0]) throw new Error(value.errors[0].message)
      return value.data ? { done: false, value: value.data as T } : iterator.next()
    },
    async return() {
      await results.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => iterator,
  }
  return iterator
}
