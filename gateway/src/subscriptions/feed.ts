import type { FormattedExecutionResult } from 'graphql'
import type { GatewayContext } from '../context.ts'
import { textOf } from '../federation/answer-text.ts'
import type { SubgraphAnswer } from '../federation/answers.ts'
import { createOrderedQueue } from './ordered-queue.ts'
import { type Backoff, type Hydrate, patiently } from './patience.ts'
import type { Source } from './source.ts'

export type FeedOptions = {
  /** Where it begins. */
  readonly from: FeedSources
  readonly isDurable: boolean
  readonly hydrate: Hydrate
  /** By which the errors in answers are told and logged. */
  readonly request: Pick<GatewayContext, 'requestId' | 'log'>
  readonly backoff: Backoff
  /** How long a durable event waits to be hydrated whole. */
  readonly hydrateWithinMs: number
  /** Events that may wait to be hydrated. */
  readonly maxQueued: number
  /** An event of a stream without positions found no place to wait. */
  readonly onDrop: () => void
}

export type FeedListener = {
  onBegin(position: string): void
  /** @param text the whole answer, as a client gets it */
  onOutput(position: string | null, text: string): void
  onTrouble(failures: number): void
  /** The source is over: what was received still comes, and then `onEnd`. */
  onClosing(): void
  onEnd(error?: unknown): void
}

/** Which sources a feed hears, one after the other. */
export type FeedSources = {
  readonly first: Source
  /** It does not keep up, and hears the one that it heard no more. */
  left(): void
  /** One of its own, after the last event that it has. */
  resume(after: string | null): Source
  /**
   * One that may be shared again, be it the feed's own; null while the one that others share has told
   * neither exactly the events up to this position nor those up to the one before.
   */
  rejoin(position: string, before: string | null): Source | null
}

/** A source's events, hydrated in its order and made text, once for all who take them. */
export type Feed = {
  /** What it hears now; null while it does not keep up. */
  readonly source: Source | null
  close(): void
}

type Received = { readonly event: FormattedExecutionResult; readonly position: string | null }
type Output = { readonly position: string | null; readonly text: string }

/**
 * It waits for nobody who takes its outputs, and nobody for it: when hydration does not keep up with
 * the owner, a durable feed leaves its source to the others who hear it, and goes on after its position,
 * by a source of its own, once there is room; without positions events are dropped.
 */
export function createFeed(options: FeedOptions, listener: FeedListener): Feed {
  const { from, isDurable, request, backoff, maxQueued } = options
  const ended = new AbortController()
  const patience = { withinMs: options.hydrateWithinMs, backoff, signal: ended.signal }
  const hydrate = isDurable ? patiently(options.hydrate, patience) : options.hydrate
  let source: Source | null = null
  let unhear: (() => void) | undefined
  /** After the last event that it has. */
  let last: string | null = null
  /** Of one that it has already, and will be told once more. */
  let again: string | null = null
  /** It left its source, and has one of its own. */
  let isApart = false

  const queue = createOrderedQueue<Received, Output>(answer, {
    emit({ position, text }) {
      listener.onOutput(position, text)
      if (source === null && queue.size <= maxQueued / 2) resume()
    },
    onEnd(error) {
      leave()
      listener.onEnd(error)
    },
  })
  hear(from.first)
  return {
    get source() {
      return source
    },
    close() {
      leave()
      queue.clear()
    },
  }

  function hear(next: Source): void {
    unhear?.()
    source = next
    unhear = next.hear({
      onBegin: listener.onBegin,
      onTrouble: listener.onTrouble,
      onEvent: receive,
      onEnd(error) {
        listener.onClosing()
        queue.end(error)
      },
    })
  }

  function receive(event: FormattedExecutionResult, position: string | null): void {
    if (!isDurable) {
      if (queue.size < maxQueued) queue.push({ event, position })
      else options.onDrop()
      return
    }
    if (again !== null && position === again) {
      again = null
      return
    }
    const before = last
    last = position
    queue.push({ event, position })
    if (queue.size >= maxQueued) pause()
    else if (isApart && position !== null) rejoin(position, before)
  }

  function pause(): void {
    isApart = true
    again = null
    source = null
    unhear?.()
    unhear = undefined
    from.left()
  }

  function resume(): void {
    if (!ended.signal.aborted) hear(from.resume(last))
  }

  /** Sources that have the same position tell the same from there on. */
  function rejoin(position: string, before: string | null): void {
    const shared = from.rejoin(position, before)
    if (shared === null) return
    isApart = false
    if (shared === source) return
    if (shared.position !== position) again = position
    hear(shared)
  }

  async function answer({ event, position }: Received): Promise<Output> {
    try {
      const hydrated = await hydrate(event as SubgraphAnswer)
      return { position, text: textOf(hydrated, request) }
    } catch (error) {
      // What failed by a bug has no successor: its upstream is of no use from that moment on.
      leave()
      listener.onClosing()
      throw error
    }
  }

  function leave(): void {
    ended.abort()
    unhear?.()
    unhear = undefined
  }
}
