import { createWeightedCache } from '@berth/platform/weighted-cache'

/**
 * Keeps what is made of operations for values of their conditions. The first of an operation is kept
 * as long as its definition, and weighed with its document; all others have their own bound together,
 * because one document may have as many as its conditions have values.
 */
export type Variants<T> = {
  find(definition: object, key: string): T | undefined
  /** @returns whether it is the first */
  keep(definition: object, key: string, value: T, weight: number): boolean
}

const MAX_BYTES = 32 * 1024 * 1024

export function createVariants<T>({
  maxBytes = MAX_BYTES,
}: {
  maxBytes?: number
} = {}): Variants<T> {
  const firsts = new WeakMap<object, { id: number; key: string; value: T }>()
  const others = createWeightedCache<string, T>({ maxWeight: maxBytes })
  let lastId = 0
  return {
    find(definition, key) {
      const first = firsts.get(definition)
      if (!first) return undefined
      return first.key === key ? first.value : others.get(`${first.id} ${key}`)
    },
    keep(definition, key, value, weight) {
      const first = firsts.get(definition)
      if (first) others.set(`${first.id} ${key}`, value, weight)
      else firsts.set(definition, { id: ++lastId, key, value })
      return !first
    },
  }
}
