import { DomainError, ERROR_CODES, isErrorCode } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import type { ExecutionResult, FormattedExecutionResult, GraphQLFormattedError } from 'graphql'
import { createOrderedQueue } from './ordered-queue.ts'
import type { Durable } from './plan.ts'
import type { Sink } from './upstreams.ts'

export type StreamOptions = {
  /** Null: a lost event is lost. */
  readonly durable: Durable | null
  /** Where the client wants to start; null: with the next event. */
  readonly after: string | null
  /** Subscribes at the owner, signed now, to what comes after a position. */
  readonly subscribe: (after: string | null, sink: Sink) => Promise<() => void>
  readonly hydrate: (event: FormattedExecutionResult) => Promise<ExecutionResult>
  /** The client does not keep up: nothing more will come. */
  readonly onOverflow: () => void
  readonly log: Log
  readonly backoff?: Backoff
  /** Events that may wait for the client. */
  readonly maxQueued?: number
}

export type Backoff = { readonly baseMs: number; readonly maxMs: number }

const BACKOFF: Backoff = { baseMs: 100, maxMs: 5_000 }
const MAX_QUEUED = 256
/** Before the stream was ever open: then the client should rather know. */
const OPEN_ATTEMPTS = 3
/** In a row, each with an error that could pass. */
const MAX_FAILURES = 20
/** Open for so long, a subscription was accepted, though graphql-ws does not say so. */
const ACCEPTED_AFTER_MS = 1_000

/**
 * One client's stream: the owner's events, hydrated, in the owner's order. It outlives its upstream:
 * when the connection or the subgraph is lost, it subscribes again, a durable stream after the last
 * position that it has, so that nothing is missing and nothing comes twice.
 *
 * An iterator and not an async generator: `return()` ends it at once, also while it waits.
 */
export function openStream(
  options: StreamOptions,
): AsyncIterableIterator<ExecutionResult, undefined> {
  const { durable, subscribe, hydrate, onOverflow, log } = options
  const { backoff = BACKOFF, maxQueued = MAX_QUEUED } = options
  const queue = createOrderedQueue<FormattedExecutionResult, ExecutionResult>(hydrate, maxQueued)
  let position = options.after
  let isAccepted = false
  let failures = 0
  let attempt = 0
  let stop: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined

  open()
  return {
    next: () => queue.next(),
    async return() {
      close()
      queue.clear()
      return { done: true, value: undefined }
    },
    async throw(error) {
      close()
      queue.clear()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }

  function open(): void {
    const current = ++attempt
    const openedAt = performance.now()
    const isCurrent = () => current === attempt
    const sink: Sink = {
      next(event) {
        if (isCurrent()) receive(event)
      },
      completed() {
        if (isCurrent()) end()
      },
      failed(errors) {
        if (!isCurrent()) return
        isAccepted ||= performance.now() - openedAt > ACCEPTED_AFTER_MS
        if (isAccepted && failures < MAX_FAILURES && errors.every(mayPass)) again()
        else end(new UpstreamErrors(errors))
      },
      lost(cause, wasConnected) {
        if (!isCurrent()) return
        isAccepted ||= wasConnected
        if (isAccepted || failures + 1 < OPEN_ATTEMPTS) again()
        else
          end(
            new DomainError('UPSTREAM_UNAVAILABLE', 'The stream’s owner does not answer', {
              cause,
            }),
          )
      },
    }
    subscribe(position, sink).then(
      (it) => {
        if (isCurrent()) stop = it
        else it()
      },
      (error: unknown) => {
        if (isCurrent()) end(error)
      },
    )
  }

  function receive(event: FormattedExecutionResult): void {
    isAccepted = true
    failures = 0
    const start = event.extensions?.[START_EXTENSION]
    if (typeof start === 'string') {
      position ??= start
      return
    }
    position = (durable && cursorOf(event, durable)) ?? position
    if (queue.push(event)) return
    end(new DomainError('SLOW_CLIENT', 'Read faster or ask for less, then resume'))
    queue.clear()
    onOverflow()
  }

  function again(): void {
    attempt++
    stop?.()
    stop = undefined
    failures++
    const delayMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** (failures - 1))
    log.info({ failures, delayMs, isDurable: durable !== null }, 'upstream lost: subscribing again')
    // Spread out, or all streams of a subgraph that restarts come back in the same instant.
    timer = setTimeout(open, delayMs * (0.5 + Math.random()))
  }

  /** What was received is still delivered. */
  function end(error?: unknown): void {
    close()
    queue.end(error)
  }

  function close(): void {
    attempt++
    clearTimeout(timer)
    stop?.()
    stop = undefined
  }
}

/** The owner refused the subscription, or ended it with these errors. */
export class UpstreamErrors extends Error {
  override readonly name = 'UpstreamErrors'
  readonly errors: readonly GraphQLFormattedError[]

  constructor(errors: readonly GraphQLFormattedError[]) {
    super('the owner ended the subscription with errors')
    this.errors = errors
  }
}

function mayPass({ extensions }: GraphQLFormattedError): boolean {
  const { code } = extensions ?? {}
  return isErrorCode(code) && ERROR_CODES[code].retryable
}

function cursorOf({ data }: FormattedExecutionResult, names: Durable): string | null {
  const payload = data?.[names.fieldName] as Record<string, unknown> | null | undefined
  const cursor = payload?.[names.cursorName]
  return typeof cursor === 'string' ? cursor : null
}
