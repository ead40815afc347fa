export type Choices = {
  /** An integer from 0 to below `n`. */
  below(n: number): number
  chance(probability: number): boolean
  of<T>(items: readonly T[]): T
}

/** The same seed makes the same choices. */
export function choicesFrom(seed: number): Choices {
  let state = seed
  // mulberry32: a dozen choices a field, so no arbitrary for each.
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return {
    below,
    chance: (probability) => next() < probability,
    of: (items) => items[below(items.length)]!,
  }
}
