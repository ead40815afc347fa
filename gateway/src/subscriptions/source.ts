import type { Log } from '@berth/platform/log'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import type { FormattedExecutionResult } from 'graphql'
import type { Backoff } from './patience.ts'
import type { Durable } from './plan.ts'
import {
  IN_DOUBT,
  isPassing,
  isRefusal,
  mayPass,
  notAnswering,
  ownersErrors,
} from './upstream-errors.ts'
import type { Sink } from './upstreams.ts'

export type SourceOptions = {
  readonly service: string
  /** Null: a lost event is lost. */
  readonly durable: Durable | null
  /** Where to start; null: with the next event. */
  readonly after: string | null
  /**
   * What to subscribe with, as of now.
   *
   * @throws {DomainError} when nobody may, or when it cannot be had now
   */
  readonly authorize: () => Promise<Authorized>
  /** Who waits for it had it before: it is waited for however long it takes. */
  readonly isAccepted: boolean
  /** It is closed for good, and takes no further listener. */
  readonly onOver: () => void
  readonly log: Log
  readonly backoff: Backoff
}

export type Authorized = {
  /** From now until it should be authorized anew: the owner ends what outlives it. Null: never. */
  readonly renewInMs: number | null
  /** Subscribes at the owner to what comes after a position. */
  readonly subscribe: (after: string | null, sink: Sink) => () => void
}

/** Whoever hears a source. Positions are opaque: equal texts are equal positions, and no more. */
export type Listener = {
  /** Where it begins: told once, before the first event, if the owner says so. */
  onBegin(position: string): void
  /** @param position after this event; null when the stream has none */
  onEvent(event: FormattedExecutionResult, position: string | null): void
  /** It cannot be had for the moment: the how-manieth time in a row. 0: it can again. */
  onTrouble(failures: number): void
  /** Nothing more comes: the owner has told all, or this is why. */
  onEnd(error?: unknown): void
}

export type Source = {
  /** After the last event that was told; null when that is not known. */
  readonly position: string | null
  /** Times in a row that it could not be had. */
  readonly failures: number
  /** @returns what ends it; without anyone who hears it, the source is closed for good */
  hear(listener: Listener): () => void
  /** Subscribes anew from its position, at some moment within this time: what it may see has changed. */
  reopen(withinMs: number): void
  /** Someone new waits for it: what it would try again later, it tries now. */
  nudge(): void
}

/** Before it was ever open: then the client should rather know. */
export const OPEN_ATTEMPTS = 3
/** In a row, each with an error that could pass. */
const MAX_FAILURES = 20
/** Open for so long, a subscription was accepted, though graphql-ws does not say so. */
const ACCEPTED_AFTER_MS = 1_000
/** Open for so long, its next failure is the first in a row. */
const STEADY_AFTER_MS = 30_000
/** Ends a position that is after an event without one: no cursor has it. */
const UNPLACED = '\0'

/**
 * A subscription at the owner that outlives its upstream: when the connection or the subgraph is
 * lost, it subscribes again, a durable one after the last position that it has, so that nothing is
 * missing and nothing comes twice. In the same way it renews its authority, before that of its
 * upstream is over.
 */
export function openSource(options: SourceOptions): Source {
  const { service, durable, authorize, log, backoff } = options
  const listeners = new Set<Listener>()
  let { cursor, unplaced } = positionOf(options.after)
  /** Events without a position that the owner tells again, since they follow the same cursor. */
  let toSkip = 0
  let isAccepted = options.isAccepted
  let isOver = false
  let failures = 0
  let attempt = 0
  let stop: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined
  let reopening: NodeJS.Timeout | undefined
  let isWaiting = false

  open()
  return {
    get position() {
      return position()
    },
    get failures() {
      return failures
    },
    hear(listener) {
      listeners.add(listener)
      return () => {
        if (listeners.delete(listener) && listeners.size === 0) finish()
      }
    },
    reopen(withinMs) {
      reopening ??= setTimeout(() => {
        reopening = undefined
        // One that is not open will be opened with what holds by then.
        if (stop) renew(attempt, 1)
      }, Math.random() * withinMs)
    },
    nudge() {
      if (!isWaiting || isOver) return
      clearTimeout(timer)
      open()
    },
  }

  function position(): string | null {
    return cursor === null ? null : cursor + UNPLACED.repeat(unplaced)
  }

  function open(): void {
    isWaiting = false
    const current = ++attempt
    authorize().then(
      (it) => {
        if (current === attempt) connect(it)
      },
      (error: unknown) => {
        if (current !== attempt) return
        if (error === IN_DOUBT || (isAccepted && isPassing(error))) again()
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
    toSkip = unplaced
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
        else end(ownersErrors(service, errors))
      },
      lost(cause, wasConnected) {
        if (!isCurrent()) return
        isAccepted ||= wasConnected
        if (ageMs() > STEADY_AFTER_MS) failures = 0
        if (isAccepted || failures + 1 < OPEN_ATTEMPTS) again()
        else end(notAnswering(cause))
      },
    }
    try {
      stop = subscribe(cursor, sink)
    } catch (error) {
      end(error)
      return
    }
    if (renewInMs !== null) timer = setTimeout(() => renew(current, 1), renewInMs)
  }

  /** What is open stays so until there is a new authority; without one its owner will end it. */
  function renew(current: number, tries: number): void {
    if (current !== attempt) return
    clearTimeout(timer)
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
      if (cursor === null) {
        cursor = start
        for (const listener of listeners) listener.onBegin(start)
      }
      return
    }
    const refused = event.errors?.filter(isRefusal) ?? []
    if (refused.length > 0) {
      end(ownersErrors(service, refused))
      return
    }
    const at = durable && cursorOf(event, durable)
    if (durable && at === null) {
      if (event.errors?.every(mayPass)) {
        // It could not be read, and the position of the next one is past it: both are asked for again.
        if (failures < MAX_FAILURES) again()
        else end(ownersErrors(service, event.errors))
        return
      }
      if (toSkip > 0) {
        toSkip--
        return
      }
      if (cursor !== null) unplaced++
    } else if (at !== null) {
      cursor = at
      unplaced = 0
      toSkip = 0
    }
    recovered()
    const after = position()
    for (const listener of listeners) listener.onEvent(event, after)
  }

  function recovered(): void {
    if (failures === 0) return
    failures = 0
    for (const listener of listeners) listener.onTrouble(0)
  }

  function again(): void {
    close()
    failures++
    const delayMs = delayAfter(failures)
    log.info({ failures, delayMs, isDurable: durable !== null }, 'upstream lost: subscribing again')
    isWaiting = true
    timer = setTimeout(open, delayMs)
    for (const listener of listeners) listener.onTrouble(failures)
  }

  /** Spread out, or all streams of a subgraph that restarts come back in the same instant. */
  function delayAfter(tries: number): number {
    return Math.min(backoff.maxMs, backoff.baseMs * 2 ** (tries - 1)) * (0.5 + Math.random())
  }

  function end(error?: unknown): void {
    if (isOver) return
    finish()
    for (const listener of listeners) listener.onEnd(error)
    listeners.clear()
  }

  function finish(): void {
    if (isOver) return
    isOver = true
    close()
    clearTimeout(reopening)
    options.onOver()
  }

  function close(): void {
    attempt++
    isWaiting = false
    clearTimeout(timer)
    stop?.()
    stop = undefined
  }
}

function positionOf(text: string | null): { cursor: string | null; unplaced: number } {
  if (text === null) return { cursor: null, unplaced: 0 }
  const cursor = text.replace(/\0+$/, '')
  return { cursor, unplaced: text.length - cursor.length }
}

function cursorOf({ data }: FormattedExecutionResult, names: Durable): string | null {
  const payload = data?.[names.fieldName] as Record<string, unknown> | null | undefined
  const cursor = payload?.[names.cursorName]
  return typeof cursor === 'string' ? cursor : null
}
