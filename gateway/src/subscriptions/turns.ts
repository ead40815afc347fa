/** Of those who wait, only so many go at once, in the order in which they came. */
export type Turns = {
  /**
   * @param go called at once or when it is their turn
   * @returns what ends the turn, or the waiting for it
   */
  take(go: () => void): () => void
}

export function createTurns(max: number): Turns {
  // A Set keeps the order, and lets go of one in the midst who waits no more.
  const waiting = new Set<() => void>()
  let taken = 0

  function pass(): void {
    const [next] = waiting
    if (!next) {
      taken--
      return
    }
    waiting.delete(next)
    next()
  }

  return {
    take(go) {
      let isOver = false
      // One of its own: the same function may wait several times.
      const own = () => go()
      if (taken < max) {
        taken++
        own()
      } else waiting.add(own)
      return () => {
        if (isOver) return
        isOver = true
        if (!waiting.delete(own)) pass()
      }
    },
  }
}
