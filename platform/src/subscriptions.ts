import type { Server } from 'node:http'
import {
  type ExecutionArgs,
  type ExecutionResult,
  type FormattedExecutionResult,
  type GraphQLSchema,
  getOperationAST,
  parse,
  subscribe,
  validate,
} from 'graphql'
import type { SubscribePayload } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { type Clock, systemClock } from './clock.ts'
import { DomainError, toGraphQLError } from './errors.ts'
import { codeOfErrors, operationCounter } from './graphql-http.ts'
import { newUuid } from './ids.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { parseTraceparent } from './trace.ts'

export type SubscribeRequest = {
  readonly extensions: Readonly<Record<string, unknown>>
  /**
   * Said by the opener of a durable stream: the cursor that it starts after. Who subscribed is told
   * before the first event, and can resume from there though there was none yet.
   */
  readonly startsAfter: (cursor: string) => void
  readonly requestId: string
  readonly traceparent: string | null
  readonly log: Log
}

/** An operation that may run, and until when whoever asks for it has been vouched for. */
export type Admitted = { readonly context: object; readonly expiresAt: Date }

const MAX_MESSAGE_BYTES = 1024 * 1024

/** For whoever subscribed to renew what they were vouched for with, and for clocks that differ. */
const GRACE_SECONDS = 10

/** In `extensions`: `true` when asked for, and the cursor in a `next` message of its own. */
export const START_EXTENSION = 'berthStartsAfter'

/**
 * Serves subscriptions over graphql-ws on an HTTP server. Each subscribe message is a request of
 * its own: one socket carries many actors.
 *
 * An operation ends with UNAVAILABLE soon after who asked is no longer vouched for: who subscribes
 * again, as whoever they are by then, goes on from their position.
 *
 * @param contextOf makes a fresh context for each operation, or throws
 * @param initSeconds a socket on which no operation was admitted by then is closed with 4408
 * @returns what closes every socket with 1001, which clients take as: connect again
 */
export function serveSubscriptions({
  server,
  path,
  schema,
  contextOf,
  log,
  metrics,
  clock = systemClock,
  initSeconds = 10,
  graceSeconds = GRACE_SECONDS,
}: {
  server: Server
  path: string
  schema: GraphQLSchema
  contextOf: (request: SubscribeRequest) => Promise<Admitted>
  log: Log
  metrics: Metrics
  clock?: Clock
  initSeconds?: number
  graceSeconds?: number
}): () => Promise<void> {
  const operations = operationCounter(metrics)
  const open = metrics.gauge('berth_graphql_sockets', 'Open graphql-ws sockets')
  const requests = new WeakMap<SubscribePayload, SubscribeRequest>()
  const starts = new WeakMap<SubscribePayload, string>()
  const endings = new WeakMap<SubscribePayload, number>()
  const admitted = new WeakSet<object>()
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES })

  sockets.on('connection', (socket) => {
    open.inc()
    const timer = setTimeout(() => {
      if (!admitted.has(socket)) socket.close(4408, 'No operation was admitted in time')
    }, initSeconds * 1000)
    socket.once('close', () => {
      open.dec()
      clearTimeout(timer)
    })
  })

  const { dispose } = useServer<Record<string, unknown>, { socket: object }>(
    {
      connectionInitWaitTimeout: initSeconds * 1000,
      onSubscribe: async ({ extra }, _id, payload) => {
        const request = {
          ...requestOf(payload, log),
          startsAfter: (cursor: string) => void starts.set(payload, cursor),
        }
        requests.set(payload, request)
        try {
          const { context, expiresAt } = await contextOf(request)
          const args = admit(schema, payload, context)
          endings.set(payload, expiresAt.getTime() + graceSeconds * 1000)
          admitted.add(extra.socket)
          return args
        } catch (error) {
          return [toGraphQLError(error, request)]
        }
      },
      // A rejection would close the socket, and so end what others have on it.
      subscribe: (args) =>
        Promise.resolve(subscribe(args as ExecutionArgs)).catch((error: unknown) => failing(error)),
      onOperation: (_context, _id, payload, _args, result) => {
        const [error] = 'errors' in result ? (result.errors ?? []) : []
        // An operation that could not open ends as an error, unlike an event that has one.
        if (error) return failing(error)
        operations.inc({ type: 'subscription', code: 'OK' })
        const start = starts.get(payload)
        const isAsked = payload.extensions?.[START_EXTENSION] === true
        if (!(Symbol.asyncIterator in result)) return undefined
        const remainingMs = (endings.get(payload) ?? 0) - clock.now().getTime()
        const events = endingAfter(remainingMs, result)
        if (start === undefined || !isAsked) return events
        return startingWith({ data: null, extensions: { [START_EXTENSION]: start } }, events)
      },
      onNext: (_context, _id, payload, _args, result) => translated(result, requestFor(payload)),
      onError: (_context, _id, payload, errors) => {
        const request = requestFor(payload)
        const shown = errors.map((error) => toGraphQLError(error, request).toJSON())
        operations.inc({ type: 'subscription', code: codeOfErrors(shown) })
        return shown
      },
    },
    sockets,
  )

  server.on('upgrade', (request, socket, head) => {
    const { pathname } = URL.parse(request.url ?? '', 'http://localhost') ?? {}
    if (pathname !== path) {
      // Nobody else listens to it any more, and an error that nobody hears ends the process.
      socket.on('error', () => socket.destroy())
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    sockets.handleUpgrade(request, socket, head, (it) => sockets.emit('connection', it, request))
  })
  return async () => void (await dispose())

  function requestFor(payload: SubscribePayload): SubscribeRequest {
    return requests.get(payload) ?? requestOf(payload, log)
  }
}

/** A socket passes by Apollo Server, so that what it would check is checked here. */
function admit(
  schema: GraphQLSchema,
  payload: SubscribePayload,
  contextValue: object,
): ExecutionArgs {
  const document = parse(payload.query)
  const [problem] = validate(schema, document)
  if (problem) throw problem
  const operation = getOperationAST(document, payload.operationName ?? undefined)
  if (operation?.operation !== 'subscription') {
    throw new DomainError('BAD_INPUT', 'A socket carries subscriptions only: name one')
  }
  return {
    schema,
    document,
    contextValue,
    operationName: payload.operationName ?? null,
    variableValues: payload.variables ?? null,
  }
}

// biome-ignore lint/correctness/useYield: it ends before its first event.
async function* failing(error: unknown): AsyncGenerator<ExecutionResult> {
  throw error
}

function requestOf(payload: SubscribePayload, log: Log): SubscribeRequest {
  const { extensions } = payload
  const given = extensions?.requestId
  const requestId = typeof given === 'string' && /^[\w.-]{8,128}$/.test(given) ? given : newUuid()
  return {
    extensions: extensions ?? {},
    startsAfter: () => undefined,
    requestId,
    traceparent: parseTraceparent(extensions?.traceparent),
    log: log.child({ requestId }),
  }
}

function translated(
  result: {
    errors?: ExecutionResult['errors'] | undefined
    data?: ExecutionResult['data'] | undefined
  },
  request: SubscribeRequest,
): FormattedExecutionResult | undefined {
  if (!result.errors) return undefined
  const errors = result.errors.map((error) => toGraphQLError(error, request).toJSON())
  return { data: result.data ?? null, errors }
}

/** Fails once the time is over, also while it waits, and lets go of the events at that moment. */
function endingAfter<T>(remainingMs: number, events: AsyncIterable<T>): AsyncIterableIterator<T> {
  const iterator = events[Symbol.asyncIterator]()
  let isOver = false
  // One callback and no race of promises: a race leaves something behind at each event.
  let fail: ((error: DomainError) => void) | undefined
  const timer = setTimeout(
    () => {
      isOver = true
      fail?.(expired())
      release().catch(() => undefined)
    },
    Math.max(0, remainingMs),
  )
  return {
    async next() {
      if (isOver) throw expired()
      try {
        const result = await new Promise<IteratorResult<T>>((resolve, reject) => {
          fail = reject
          iterator.next().then(resolve, reject)
        })
        if (result.done) clearTimeout(timer)
        return result
      } catch (error) {
        clearTimeout(timer)
        throw error
      }
    },
    async return() {
      clearTimeout(timer)
      await release()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }

  async function release(): Promise<void> {
    await iterator.return?.()
  }
}

function expired(): DomainError {
  return new DomainError('UNAVAILABLE', 'The assertion has expired: subscribe again')
}

/** An iterator and not a generator, so that `return()` reaches the events while they are waited for. */
function startingWith<T>(first: T, events: AsyncIterable<T>): AsyncIterableIterator<T> {
  const iterator = events[Symbol.asyncIterator]()
  let isFirst = true
  return {
    async next() {
      if (!isFirst) return iterator.next()
      isFirst = false
      return { done: false, value: first }
    },
    async return() {
      await iterator.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
