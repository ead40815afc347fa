/**
 * Places for loaded rules, in an engine that frees what it holds only by being given something else in
 * its place.
 */
export type Slots = {
  /** The slot of these rules. When it is `isNew`, they are to be loaded there: another's are, or none. */
  of(key: string): { readonly slot: number; readonly isNew: boolean }
  /** The rules are in no slot any more. */
  drop(key: string): void
}

/** @param count when all are taken, the one that was asked for the longest ago is given away */
export function createSlots(count: number): Slots {
  // A Map iterates in order of insertion: the first key is the oldest.
  const taken = new Map<string, number>()
  const free = Array.from({ length: count }, (_, i) => count - 1 - i)
  return { of, drop }

  function of(key: string) {
    const known = taken.get(key)
    const slot = known ?? free.pop() ?? takeOldest()
    taken.delete(key)
    taken.set(key, slot)
    return { slot, isNew: known === undefined }
  }

  function takeOldest(): number {
    const [key, slot] = taken.entries().next().value as [string, number]
    taken.delete(key)
    return slot
  }

  function drop(key: string): void {
    const slot = taken.get(key)
    if (slot === undefined) return
    taken.delete(key)
    free.push(slot)
  }
}
