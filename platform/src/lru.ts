/** A map that keeps at most `max` entries and drops the least recently used one. */
export type Lru<K, V> = {
  get(key: K): V | undefined
  set(key: K, value: V): void
  delete(key: K): void
  values(): Iterable<V>
  readonly size: number
}

export function createLru<K, V>(max: number): Lru<K, V> {
  // A Map iterates in order of insertion: the first key is the oldest.
  const entries = new Map<K, V>()
  // It is where it belongs already, and it is the one that is asked for most.
  let newest: K | undefined
  return {
    get(key) {
      const value = entries.get(key)
      if (value === undefined || key === newest) return value
      entries.delete(key)
      entries.set(key, value)
      newest = key
      return value
    },
    set(key, value) {
      entries.delete(key)
      entries.set(key, value)
      newest = key
      if (entries.size > max) entries.delete(entries.keys().next().value as K)
    },
    delete: (key) => void entries.delete(key),
    values: () => entries.values(),
    get size() {
      return entries.size
    },
  }
}
