/** Something alive that is to be looked at now and then. */
export type Swept = { sweep(): void }

export type Sweep = {
  /** @returns what takes it out again */
  add(it: Swept): () => void
  close(): void
}

/** Into so many parts a period is divided, so that not everyone is looked at in the same moment. */
const SLOTS = 12

/**
 * Looks at each of many things once in a period, by one timer for all of them.
 *
 * @param periodMs each is looked at one period after it came, and once in every period from then on
 */
export function createSweep(periodMs: number): Sweep {
  const slots = Array.from({ length: SLOTS }, () => new Set<Swept>())
  let at = 0
  const timer = setInterval(() => {
    at = (at + 1) % SLOTS
    for (const it of slots[at] ?? []) it.sweep()
  }, periodMs / SLOTS)
  timer.unref()

  return {
    add(it) {
      // The slot of now is the last to come: a whole period from here.
      const slot = slots[at]
      slot?.add(it)
      return () => slot?.delete(it)
    },
    close: () => clearInterval(timer),
  }
}
