/**
 * A cache bounded by weight that a flood of keys seen once cannot empty. Every entry has its place
 * in one of two least-recently-used lists: *probation* takes what is new, *protected* what was used
 * again (a segmented LRU). Where protected is full, its oldest entry defends its place with the uses
 * it had: so not even a flood of keys that are each used twice drives out what is used often.
 */
export type WeightedCache<K, V> = {
  /** Counts as a use. */
  get(key: K): V | undefined
  /** Whoever weighs more than probation holds is not kept. */
  set(key: K, value: V, weight: number): void
  /**
   * What is kept under this key has become heavier, if it is this value. It counts as no use; whoever
   * weighs more than probation holds by then is evicted.
   */
  grow(key: K, value: V, by: number): void
  delete(key: K): void
  /** Those with most uses, first the most used. */
  hottest(count: number): readonly V[]
  readonly size: number
  /** Never more than `maxWeight`. */
  readonly weight: number
}

type Entry<K, V> = {
  readonly key: K
  readonly value: V
  weight: number
  /** All uses, for `hottest`. */
  uses: number
  /** What it defends its place with: as many uses, at most `MAX_CREDIT`. */
  credit: number
  isProtected: boolean
}

/** Few enough that what was popular once gives way to what is popular now. */
const MAX_CREDIT = 15

/**
 * @param maxWeight of all entries together, in the unit in which they are weighed
 * @param probationShare of it, for what is new
 * @param onEvict told of what had to go, but not of what was deleted or replaced
 */
export function createWeightedCache<K, V>({
  maxWeight,
  probationShare = 1 / 8,
  onEvict,
}: {
  maxWeight: number
  probationShare?: number
  onEvict?: (value: V) => void
}): WeightedCache<K, V> {
  const entries = new Map<K, Entry<K, V>>()
  // Maps iterate in order of insertion: the first key of each is the least recently used.
  const probation = createSegment<K, V>(maxWeight * probationShare)
  const guarded = createSegment<K, V>(maxWeight - maxWeight * probationShare)

  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entry.uses++
      if (entry.credit < MAX_CREDIT) entry.credit++
      if (entry.isProtected) guarded.refresh(entry)
      else promote(entry)
      return entry.value
    },
    set(key, value, weight) {
      remove(key)
      if (!(weight <= probation.max)) return
      const entry = { key, value, weight, uses: 0, credit: 0, isProtected: false }
      entries.set(key, entry)
      probation.add(entry)
      shrinkProbation()
    },
    grow(key, value, by) {
      const entry = entries.get(key)
      if (entry?.value !== value) return
      const segment = entry.isProtected ? guarded : probation
      if (!(entry.weight + by <= probation.max)) {
        remove(key)
        onEvict?.(value)
        return
      }
      segment.grow(entry, by)
      while (guarded.weight > guarded.max) demoteOldest()
      shrinkProbation()
    },
    delete: remove,
    hottest: (count) =>
      [...entries.values()]
        .sort((a, b) => b.uses - a.uses)
        .slice(0, count)
        .map((it) => it.value),
    get size() {
      return entries.size
    },
    get weight() {
      return probation.weight + guarded.weight
    },
  }

  /** Makes room among the protected, or leaves it where it is: then it has the next use for a try. */
  function promote(entry: Entry<K, V>): void {
    while (guarded.weight + entry.weight > guarded.max) {
      const oldest = guarded.oldest()
      if (!oldest || oldest.credit >= entry.credit) {
        // Worn out only by what is used about as much: else a flood would do it, entry by entry.
        if (oldest && entry.credit * 2 > oldest.credit) oldest.credit--
        probation.refresh(entry)
        return
      }
      demoteOldest()
    }
    probation.remove(entry)
    entry.isProtected = true
    guarded.add(entry)
    shrinkProbation()
  }

  function demoteOldest(): void {
    const oldest = guarded.oldest()
    if (!oldest) return
    guarded.remove(oldest)
    oldest.isProtected = false
    probation.add(oldest)
  }

  function shrinkProbation(): void {
    while (probation.weight > probation.max) {
      const oldest = probation.oldest()
      if (!oldest) return
      probation.remove(oldest)
      entries.delete(oldest.key)
      onEvict?.(oldest.value)
    }
  }

  function remove(key: K): void {
    const entry = entries.get(key)
    if (!entry) return
    entries.delete(key)
    const segment = entry.isProtected ? guarded : probation
    segment.remove(entry)
  }
}

function createSegment<K, V>(max: number) {
  const members = new Map<K, Entry<K, V>>()
  let weight = 0
  return {
    max,
    get weight() {
      return weight
    },
    oldest: () => members.values().next().value,
    add(entry: Entry<K, V>): void {
      members.set(entry.key, entry)
      weight += entry.weight
    },
    remove(entry: Entry<K, V>): void {
      if (members.delete(entry.key)) weight -= entry.weight
    },
    grow(entry: Entry<K, V>, by: number): void {
      entry.weight += by
      weight += by
    },
    refresh(entry: Entry<K, V>): void {
      members.delete(entry.key)
      members.set(entry.key, entry)
    },
  }
}
