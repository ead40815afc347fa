import DataLoader from 'dataloader'

/**
 * Loads by key: what is asked for in one tick is one call, and each key is asked for once. Make one
 * per operation: what it remembers belongs to its caller and to no other.
 *
 * @param load the values of these keys, by key; a key without a value is left out
 * @returns the key's value, or null
 */
export function createLoader<K extends string, V>(
  load: (keys: readonly K[]) => Promise<ReadonlyMap<K, V>>,
): (key: K) => Promise<V | null> {
  const loader = new DataLoader<K, V | null>(async (keys) => {
    const values = await load(keys)
    return keys.map((key) => values.get(key) ?? null)
  })
  return (key) => loader.load(key)
}
