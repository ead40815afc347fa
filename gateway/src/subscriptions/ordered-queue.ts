/** Items in, results out, in the same order. */
export type OrderedQueue<Item, Result> = {
  /** False when the queue is full or has ended, and then the item is not in it. */
  push(item: Item): boolean
  /** The next result; asked for one at a time. */
  next(): Promise<IteratorResult<Result, undefined>>
  /** After what is in it the queue is done, or fails with the error. */
  end(error?: unknown): void
  /** Forgets what is in it; unless it has ended otherwise, it is done. */
  clear(): void
}

type Entry<Item, Result> = {
  readonly item: Item
  isStarted: boolean
  outcome?: { readonly value: Result } | { readonly error: unknown }
}

const MAX_AT_ONCE = 8

/**
 * A bounded queue whose items are worked on ahead, a few at a time, while their results keep the
 * order of the items. The end queues behind what is being worked on.
 *
 * @param maxItems an item counts until its result is taken, so a slow reader fills the queue
 */
export function createOrderedQueue<Item, Result>(
  work: (item: Item) => Promise<Result>,
  maxItems: number,
): OrderedQueue<Item, Result> {
  let entries: Entry<Item, Result>[] = []
  let ending: { readonly error?: unknown } | undefined
  // One callback and no race of promises: a race leaves something behind at each event.
  let wake: (() => void) | undefined

  function startAhead(): void {
    for (const entry of entries.slice(0, MAX_AT_ONCE)) {
      if (entry.isStarted) continue
      entry.isStarted = true
      work(entry.item).then(
        (value) => settle(entry, { value }),
        (error: unknown) => settle(entry, { error }),
      )
    }
  }

  function settle(entry: Entry<Item, Result>, outcome: NonNullable<typeof entry.outcome>): void {
    entry.outcome = outcome
    if (entries[0] === entry) wake?.()
  }

  return {
    push(item) {
      if (ending || entries.length >= maxItems) return false
      entries.push({ item, isStarted: false })
      startAhead()
      return true
    },
    async next() {
      for (;;) {
        const first = entries[0]
        if (first?.outcome) {
          entries.shift()
          startAhead()
          if ('error' in first.outcome) throw first.outcome.error
          return { done: false, value: first.outcome.value }
        }
        if (!first && ending) {
          const { error } = ending
          ending = {}
          if (error !== undefined) throw error
          return { done: true, value: undefined }
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    end(error) {
      ending ??= { error }
      wake?.()
    },
    clear() {
      entries = []
      ending ??= {}
      wake?.()
    },
  }
}
