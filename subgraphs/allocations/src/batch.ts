/**
 * Joins the loads of one turn of the event loop into one, each key once, and remembers nothing.
 *
 * @returns null for a key that the load did not find
 */
export function batched<K, V>(
  load: (keys: readonly K[]) => Promise<ReadonlyMap<K, V>>,
): (key: K) => Promise<V | null> {
  let waiting: { keys: Set<K>; loaded: Promise<ReadonlyMap<K, V>> } | undefined

  function open() {
    const keys = new Set<K>()
    // Promise jobs first: resolvers of one level may take several of them to ask.
    const loaded = new Promise<void>((done) => setImmediate(done)).then(() => {
      waiting = undefined
      return load([...keys])
    })
    return { keys, loaded }
  }

  return async (key) => {
    waiting ??= open()
    waiting.keys.add(key)
    return (await waiting.loaded).get(key) ?? null
  }
}
