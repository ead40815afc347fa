import { createBell } from './bell.ts'

export type Positioned = { readonly position: bigint }

export type FollowOptions<Item extends Positioned> = {
  /** Position of the last item the follower has. */
  after: bigint
  /** The items after a position in ascending order, at most a page of them; none when it is the last. */
  readAfter: (position: bigint) => Promise<readonly Item[]>
  /**
   * Subscribes to "there may be more". Hints may be lost, repeated or early: they only say when to
   * read. May take its time; what comes meanwhile is read once it is subscribed.
   */
  hints: (onHint: () => void) => Dispose | Promise<Dispose>
  /** How long a lost hint can delay an item. */
  pollSeconds?: number
  signal?: AbortSignal
}

type Dispose = () => void | Promise<void>

/**
 * The items after a position, then those that come, each once and in order. Holds one page at most.
 *
 * An iterator and not an async generator: `return()` ends it at once, also while it waits, and
 * releases the hints. A failed read is thrown to the reader and ends it.
 */
export function follow<Item extends Positioned>(
  options: FollowOptions<Item>,
): AsyncIterableIterator<Item, undefined> {
  const { readAfter, pollSeconds = 5, signal } = options
  let position = options.after
  let page: readonly Item[] = []
  let at = 0
  let isStarted = false
  let tail: Promise<unknown> = Promise.resolve()
  const bell = createBell()
  const waiting = new Set<() => void>()
  let isEnded = false
  let dispose: Dispose | undefined

  function end(): void {
    if (isEnded) return
    isEnded = true
    page = []
    signal?.removeEventListener('abort', end)
    void dispose?.()
    bell.ring()
    for (const finish of waiting) finish()
  }

  function start(): void {
    isStarted = true
    if (signal?.aborted) {
      end()
      return
    }
    signal?.addEventListener('abort', end)
    const onHint = () => bell.ring()
    // Not awaited: while the hints' server is away, polling still brings everything.
    void Promise.resolve()
      .then(() => options.hints(onHint))
      .then(
        (it) => {
          if (isEnded) return it()
          dispose = it
          onHint()
        },
        () => undefined,
      )
  }

  async function step(): Promise<IteratorResult<Item, undefined>> {
    if (!isStarted && !isEnded) start()
    while (!isEnded) {
      const item = page[at]
      if (item) {
        at += 1
        position = item.position
        return { done: false, value: item }
      }
      bell.reset()
      const read = await readAfter(position)
      if (isEnded) break
      assertAscending(position, read)
      page = read
      at = 0
      if (page.length === 0) await bell.heard(pollSeconds)
    }
    return { done: true, value: undefined }
  }

  return {
    next() {
      return new Promise((resolve, reject) => {
        const finish = () => resolve({ done: true, value: undefined })
        if (isEnded) return finish()
        waiting.add(finish)
        tail = tail
          .then(step)
          .then(resolve, (error: unknown) => {
            reject(error)
            end()
          })
          .finally(() => waiting.delete(finish))
      })
    },
    async return() {
      end()
      return { done: true, value: undefined }
    },
    async throw(error) {
      end()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

function assertAscending(after: bigint, items: readonly Positioned[]): void {
  let last = after
  for (const { position } of items) {
    if (position <= last) throw new RangeError(`position ${position} was read after ${last}`)
    last = position
  }
}
