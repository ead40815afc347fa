/** Items in, results out, in the same order. */
export type OrderedQueue<Item> = {
  /** Items whose result has not come out. */
  readonly size: number
  push(item: Item): void
  /** After what is in it the queue tells of its end, once. */
  end(error?: unknown): void
  /** Forgets what is in it, and tells nothing more. */
  clear(): void
}

type Outcome<Result> = { readonly value: Result } | { readonly error: unknown }
type Entry<Item, Result> = { readonly item: Item; outcome: Outcome<Result> | null }

const MAX_AT_ONCE = 8

/**
 * A queue whose items are worked on ahead, a few at a time, while their results keep the order of
 * the items. The end queues behind what is being worked on. It is not bounded: whoever fills it
 * looks at its size.
 *
 * @param emit told each result
 * @param onEnd told once, after every result before it: the end, or the first failure
 */
export function createOrderedQueue<Item, Result>(
  work: (item: Item) => Promise<Result>,
  { emit, onEnd }: { emit: (result: Result) => void; onEnd: (error?: unknown) => void },
): OrderedQueue<Item> {
  let entries: Entry<Item, Result>[] = []
  /** The first of them that is not being worked on. */
  let ahead = 0
  let ending: { readonly error?: unknown } | undefined
  let isOver = false

  function startAhead(): void {
    for (; ahead < entries.length && ahead < MAX_AT_ONCE; ahead++) {
      const entry = entries[ahead] as Entry<Item, Result>
      work(entry.item).then(
        (value) => settle(entry, { value }),
        (error: unknown) => settle(entry, { error }),
      )
    }
  }

  function settle(entry: Entry<Item, Result>, outcome: Outcome<Result>): void {
    entry.outcome = outcome
    if (isOver || entries[0] !== entry) return
    for (let first = entries[0]; first?.outcome; first = entries[0]) {
      entries.shift()
      ahead--
      if ('error' in first.outcome) {
        finish(first.outcome.error)
        return
      }
      emit(first.outcome.value)
      // Whoever was told may have let go of it.
      if (isOver) return
    }
    startAhead()
    finishIfDone()
  }

  function finishIfDone(): void {
    if (ending && entries.length === 0) finish(ending.error)
  }

  function finish(error?: unknown): void {
    if (isOver) return
    isOver = true
    entries = []
    onEnd(error)
  }

  return {
    get size() {
      return entries.length
    },
    push(item) {
      if (ending || isOver) return
      entries.push({ item, outcome: null })
      startAhead()
    },
    end(error) {
      ending ??= { error }
      finishIfDone()
    },
    clear() {
      isOver = true
      entries = []
    },
  }
}
