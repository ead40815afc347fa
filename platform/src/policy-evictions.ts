/**
 * What of policy is no longer to be taken as it was read. Each eviction has the next number; what is
 * read carries the number that was reached when its read began, so that an eviction also holds for
 * a read that it overtook.
 */
export type PolicyEvictions = {
  /** The number that was reached. */
  now(): number
  /** Whether what was read under these keys, from this number on, has not been evicted since. */
  isKept(keys: readonly string[], since: number): boolean
  /** Whether there is, moreover, no doubt of it. */
  isSure(keys: readonly string[], since: number): boolean
  evict(key: string): void
  evictAll(): void
  /** Something may have been evicted that nobody told of. */
  doubtAll(): void
}

/** @param maxKeys told apart; beyond them an eviction is of all */
export function createPolicyEvictions(maxKeys = 1_000): PolicyEvictions {
  let sequence = 0
  let allAt = 0
  let doubtedAt = 0
  const byKey = new Map<string, number>()

  const isKept = (keys: readonly string[], since: number) =>
    since >= allAt && keys.every((key) => since >= (byKey.get(key) ?? 0))
  return {
    now: () => sequence,
    isKept,
    isSure: (keys, since) => since >= doubtedAt && isKept(keys, since),
    evict(key) {
      if (byKey.size >= maxKeys && !byKey.has(key)) evictAll()
      else byKey.set(key, ++sequence)
    },
    evictAll,
    doubtAll() {
      doubtedAt = ++sequence
    },
  }

  function evictAll(): void {
    allAt = ++sequence
    byKey.clear()
  }
}
