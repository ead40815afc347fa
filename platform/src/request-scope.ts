import { AsyncLocalStorage } from 'node:async_hooks'

/** What the work in hand was asked for by. */
export type RequestScope = {
  readonly requestId: string
  /** The way it came: `graphql`, `command:<calling service>`, `event:<domain>`. */
  readonly origin: string
}

const current = new AsyncLocalStorage<RequestScope>()

/** Does work for a request: what is written on the way, however deep, can name it. */
export function withinRequest<T>(request: RequestScope, work: () => T): T {
  return current.run(request, work)
}

/** The request that is worked for; undefined for what a service does by itself. */
export function currentRequest(): RequestScope | undefined {
  return current.getStore()
}
