/** The last outputs of a group, each under an index that counts from the group's beginning. */
export type Ring = {
  /** Index of the oldest output that is kept. */
  readonly start: number
  /** Index that the next output will have. */
  readonly end: number
  /** Position of the last output, or where the group began; null when that is not known. */
  readonly last: string | null
  /** Index of the output that follows this position; undefined when it is not kept, or unknown. */
  after(position: string): number | undefined
  /** Position that the output of this index follows; null when it is not known. */
  before(index: number): string | null
  /** @param index from `start` up to, and without, `end` */
  text(index: number): string
  /** Where the group begins, told before its first output. */
  beginAt(position: string): void
  /** @param position null when the stream has none */
  push(position: string | null, text: string): void
  /** It is used no more, and takes no room. */
  close(): void
}

export type RingLimits = {
  readonly maxItems: number
  /** Characters of texts. */
  readonly maxBytes: number
}

export const RING_LIMITS: RingLimits = { maxItems: 256, maxBytes: 1024 * 1024 }

/** What all rings may take together. */
export type RingBudget = {
  readonly bytes: number
  /** A ring has had an output. */
  grown(ring: Shrinkable, bytes: number): void
  shrunk(bytes: number): void
  closed(ring: Shrinkable): void
}

/** @returns false when there is nothing to let go of */
type Shrinkable = { shrink(): boolean }

/**
 * When the rings have too much, those shrink first that have had no output for longest. The newest
 * output of each stays.
 */
export function createRingBudget(maxBytes: number): RingBudget {
  /** Of more than one output, the one that had its last one before all others first. */
  const rings = new Set<Shrinkable>()
  let bytes = 0
  return {
    get bytes() {
      return bytes
    },
    grown(ring, by) {
      bytes += by
      rings.delete(ring)
      rings.add(ring)
      if (bytes <= maxBytes) return
      for (const oldest of rings) {
        while (bytes > maxBytes && oldest.shrink());
        if (bytes <= maxBytes) return
        rings.delete(oldest)
      }
    },
    shrunk(by) {
      bytes -= by
    },
    closed(ring) {
      rings.delete(ring)
    },
  }
}

/** The newest output is always kept, whatever its size. */
export function createRing(
  { maxItems, maxBytes }: RingLimits = RING_LIMITS,
  budget: RingBudget = createRingBudget(Number.POSITIVE_INFINITY),
): Ring {
  const positions: (string | null)[] = new Array(maxItems).fill(null)
  const texts: string[] = new Array(maxItems).fill('')
  const indices = new Map<string, number>()
  let start = 0
  let end = 0
  let bytes = 0
  /** Where the oldest output that is kept follows. */
  let base: string | null = null
  let last: string | null = null
  let isClosed = false

  const shrinkable: Shrinkable = {
    shrink() {
      if (end - start <= 1) return false
      evict()
      return true
    },
  }

  function evict(): void {
    const slot = start % maxItems
    const size = texts[slot]?.length ?? 0
    bytes -= size
    budget.shrunk(size)
    texts[slot] = ''
    if (base !== null && indices.get(base) === start) indices.delete(base)
    base = positions[slot] ?? null
    start++
  }

  return {
    get start() {
      return start
    },
    get end() {
      return end
    },
    get last() {
      return last
    },
    after: (position) => indices.get(position),
    before: (index) => (index === start ? base : (positions[(index - 1) % maxItems] ?? null)),
    text: (index) => texts[index % maxItems] ?? '',
    beginAt(position) {
      if (end > 0 || last !== null) return
      base = position
      last = position
      indices.set(position, 0)
    },
    push(position, text) {
      if (isClosed) return
      if (end - start === maxItems) evict()
      const slot = end % maxItems
      positions[slot] = position
      texts[slot] = text
      bytes += text.length
      end++
      if (position !== null) {
        last = position
        indices.set(position, end)
      }
      while (bytes > maxBytes && end - start > 1) evict()
      budget.grown(shrinkable, text.length)
    },
    close() {
      isClosed = true
      budget.closed(shrinkable)
      budget.shrunk(bytes)
      bytes = 0
      texts.fill('')
      start = end
      indices.clear()
    },
  }
}
