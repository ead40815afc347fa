import type { FormattedExecutionResult } from 'graphql'
import type { GatewayContext } from '../context.ts'
import { textOf } from '../federation/answer-text.ts'
import type { SubgraphAnswer } from '../federation/answers.ts'
import { createOrderedQueue } from './ordered-queue.ts'
import { type Backoff, type Hydrate, patiently } from './patience.ts'
import type { Source } from './source.ts'

export type FeedOptions = {
  readonly source: Source
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

/** A source's events, hydrated in its order and made text, once for all who take them. */
export type Feed = { close(): void }

type Received = { readonly event: FormattedExecutionResult; readonly position: string | null }
type Output = { readonly position: string | null; readonly text: string }

/**
 * It waits for nobody who takes its outputs. When hydration does not keep up with the owner, a
 * durable source is left at its position until it does; without positions events are dropped.
 */
export function createFeed(options: FeedOptions, listener: FeedListener): Feed {
  const { source, isDurable, request, backoff, maxQueued } = options
  const ended = new AbortController()
  const patience = { withinMs: options.hydrateWithinMs, backoff, signal: ended.signal }
  const hydrate = isDurable ? patiently(options.hydrate, patience) : options.hydrate
  const holder = {}
  let isHolding = false

  const queue = createOrderedQueue<Received, Output>(answer, {
    emit({ position, text }) {
      listener.onOutput(position, text)
      if (isHolding && queue.size <= maxQueued / 2) release()
    },
    onEnd(error) {
      leave()
      listener.onEnd(error)
    },
  })
  const unhear = source.hear({
    onBegin: listener.onBegin,
    onTrouble: listener.onTrouble,
    onEvent(event, position) {
      if (!isDurable && queue.size >= maxQueued) {
        options.onDrop()
        return
      }
      queue.push({ event, position })
      if (isDurable && !isHolding && queue.size >= maxQueued) {
        isHolding = true
        source.hold(holder)
      }
    },
    onEnd(error) {
      listener.onClosing()
      queue.end(error)
    },
  })
  return {
    close() {
      leave()
      queue.clear()
    },
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

  function release(): void {
    isHolding = false
    source.release(holder)
  }

  function leave(): void {
    ended.abort()
    unhear()
    if (isHolding) release()
  }
}
