import { DomainError, ERROR_CODES, isErrorCode } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import type { ExecutionResult, FormattedExecutionResult, GraphQLFormattedError } from 'graphql'
import { createOrderedQueue } from './ordered-queue.ts'
import { type Backoff, type Hydrate, patiently } from './patience.ts'
import type { Durable } from './plan.ts'
import type { Sink } from './upstreams.ts'

export type StreamOptions = {
  /** Null: a lost event is lost. */
  readonly durable: Durable | null
  /** Where the client wants to start; null: with the next event. */
  readonly after: string | null
  /**
   * Finds out who asks, as of now, and signs it.
   *
   * @throws {DomainError} when they may not ask any more, or when it cannot be found out now
   */
  readonly authorize: () => Promise<Authorized>
  readonly hydrate: Hydrate
  /** The client does not keep up: nothing more will come. */
  readonly onOverflow: () => void
  readonly log: Log
  readonly backoff?: Backoff
  /** How long a durable event waits to be hydrated whole. */
  readonly hydrateWithinMs?: number
  /** Events that may wait for the client. */
  readonly maxQueued?: number
}

export type Authorized = {
  /** From now until it should be authorized anew: the owner ends what outlives its assertion. */
  readonly renewInMs: number
  /** Subscribes at the owner to what comes after a position. */
  readonly subscribe: (after: string | null, sink: Sink) => () => void
}

const BACKOFF: Backoff = { baseMs: 100, maxMs: 5_000 }
const HYDRATE_WITHIN_MS = 10_000
const MAX_QUEUED = 256
/** Before the stream was ever open: then the client should rather know. */
const OPEN_ATTEMPTS = 3
/** In a row, each with an error that could pass. */
const MAX_FAILURES = 20
/** Open for so long, a subscription was accepted, though graphql-ws does not say so. */
const ACCEPTED_AFTER_MS = 1_000
/** Open for so long, its next failure is the first in a row. */
const STEADY_AFTER_MS = 30_000

/**
 * One client's stream: the owner's events, hydrated, in the owner's order. It outlives its upstream:
 * when the connection or the subgraph is lost, it subscribes again, a durable stream after the last
 * position that it has, so that nothing is missing and nothing comes twice. In the same way it
 * renews its authority, before that of its upstream is over.
 *
 * An iterator and not an async generator: `return()` ends it at once, also while it waits.
 */
export function openStream(
  options: StreamOptions,
): AsyncIterableIterator<ExecutionResult, undefined> {
  const { durable, authorize, onOverflow, log } = options
  const { backoff = BACKOFF, maxQueued = MAX_QUEUED } = options
  const { hydrateWithinMs: withinMs = HYDRATE_WITHIN_MS } = options
  const ended = new AbortController()
  const { signal } = ended
  const hydrate = durable
    ? patiently(options.hydrate, { withinMs, backoff, signal })
    : options.hydrate
  const queue = createOrderedQueue(hydrateOrClose, maxQueued)
  let position = options.after
  let isAccepted = false
  let failures = 0
  let attempt = 0
  let stop: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined

  open()
  return {
    async next() {
      try {
        return await queue.next()
      } catch (error) {
        // Whoever iterates is done with it, and does not say so.
        leave()
        throw error
      }
    },
    async return() {
      leave()
      return { done: true, value: undefined }
    },
    async throw(error) {
      leave()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }

  function open(): void {
    const current = ++attempt
    authorize().then(
      (it) => {
        if (current === attempt) connect(it)
      },
      (error: unknown) => {
        if (current !== attempt) return
        if (isAccepted && isPassing(error)) again()
        else end(error)
      },
    )
  }

  /** In one step, so that no event comes between the position and what is subscribed after it. */
  function connect({ subscribe, renewInMs }: Authorized): void {
    const current = ++attempt
    const openedAt = performance.now()
    const isCurrent = () => current === attempt
    const ageMs = () => performance.now() - openedAt
    stop?.()
    stop = undefined
    clearTimeout(timer)
    const sink: Sink = {
      next(event) {
        if (isCurrent()) receive(event)
      },
      completed() {
        if (isCurrent()) end()
      },
      failed(errors) {
        if (!isCurrent()) return
        isAccepted ||= ageMs() > ACCEPTED_AFTER_MS
        if (ageMs() > STEADY_AFTER_MS) failures = 0
        if (isAccepted && failures < MAX_FAILURES && errors.every(mayPass)) again()
        else end(new UpstreamErrors(errors))
      },
      lost(cause, wasConnected) {
        if (!isCurrent()) return
        isAccepted ||= wasConnected
        if (ageMs() > STEADY_AFTER_MS) failures = 0
        if (isAccepted || failures + 1 < OPEN_ATTEMPTS) again()
        else
          end(
            new DomainError('UPSTREAM_UNAVAILABLE', 'The stream’s owner does not answer', {
              cause,
            }),
          )
      },
    }
    try {
      stop = subscribe(position, sink)
    } catch (error) {
      end(error)
      return
    }
    timer = setTimeout(() => renew(current, 1), renewInMs)
  }

  /** What is open stays so until there is a new authority; without one its owner will end it. */
  function renew(current: number, tries: number): void {
    authorize().then(
      (it) => {
        if (current !== attempt) return
        // Or it would have been refused by now.
        isAccepted = true
        connect(it)
      },
      (error: unknown) => {
        if (current !== attempt) return
        if (isPassing(error)) {
          log.info({ err: error, tries }, 'authority cannot be renewed: trying again')
          timer = setTimeout(() => renew(current, tries + 1), delayAfter(tries))
        } else end(error)
      },
    )
  }

  function receive(event: FormattedExecutionResult): void {
    isAccepted = true
    const start = event.extensions?.[START_EXTENSION]
    if (typeof start === 'string') {
      position ??= start
      return
    }
    const cursor = durable && cursorOf(event, durable)
    if (durable && cursor === null && event.errors?.every(mayPass)) {
      // It could not be read, and the position of the next one is past it: both are asked for again.
      if (failures < MAX_FAILURES) again()
      else end(new UpstreamErrors(event.errors))
      return
    }
    failures = 0
    position = cursor ?? position
    if (queue.push(event)) return
    end(new DomainError('SLOW_CLIENT', 'Read faster or ask for less, then resume'))
    queue.clear()
    onOverflow()
  }

  /** What failed by a bug has no successor: its upstream is of no use from that moment on. */
  async function hydrateOrClose(event: FormattedExecutionResult): Promise<ExecutionResult> {
    try {
      return await hydrate(event)
    } catch (error) {
      close()
      throw error
    }
  }

  function again(): void {
    close()
    failures++
    const delayMs = delayAfter(failures)
    log.info({ failures, delayMs, isDurable: durable !== null }, 'upstream lost: subscribing again')
    timer = setTimeout(open, delayMs)
  }

  /** Spread out, or all streams of a subgraph that restarts come back in the same instant. */
  function delayAfter(tries: number): number {
    return Math.min(backoff.maxMs, backoff.baseMs * 2 ** (tries - 1)) * (0.5 + Math.random())
  }

  /** What was received is still delivered. */
  function end(error?: unknown): void {
    close()
    queue.end(error)
  }

  function leave(): void {
    close()
    ended.abort()
    queue.clear()
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

function isPassing(error: unknown): boolean {
  return error instanceof DomainError && ERROR_CODES[error.code].retryable
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
