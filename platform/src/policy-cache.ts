import type { Clock } from './clock.ts'
import { createLru } from './lru.ts'
import type { Metrics } from './metrics.ts'
import type { PolicyAsk } from './policy-ask.ts'
import type { PolicyEvictions } from './policy-evictions.ts'

/** What was read of policy: a slot for each answer, under the keys whose change evicts it. */
export type PolicyCache<T> = {
  /** What is current of it, at once; undefined when it has to be read. */
  known(slot: string): { readonly value: T } | undefined
  /**
   * Reads it, once for all who ask at the same time. When that fails, what is known of it serves,
   * unless it was evicted, or it is `staleSeconds` since it was known to hold.
   *
   * @throws {DomainError} UNAVAILABLE
   */
  read(question: Question<T>): Promise<T>
  /** When the one that is longest in doubt was last known to hold; null when there is none. */
  oldest(): number | null
}

type Question<T> = {
  slot: string
  keys: readonly string[]
  staleSeconds: number
  from: (timeoutMs: number) => Promise<T>
}

type Entry<T> = { value: T; keys: readonly string[]; since: number; readAt: number }
type Flight<T> = { value: Promise<T>; since: number }

const MAX_AGE_MS = 60_000
/** So long it holds with no word from the feed: what a lost message can do ends after this. */
export const SURE_MS = 3_000

/** @param completeAt up to when all changes are known, in milliseconds */
export function createPolicyCache<T>({
  of,
  max,
  evictions,
  completeAt,
  ask,
  metrics,
  clock,
}: {
  of: string
  max: number
  evictions: PolicyEvictions
  completeAt: () => number
  ask: PolicyAsk
  metrics: Metrics
  clock: Clock
}): PolicyCache<T> {
  const entries = createLru<string, Entry<T>>(max)
  const flights = new Map<string, Flight<T>>()
  const count = (name: string, help: string) => metrics.counter(name, help, ['of']).labels({ of })
  const hits = count('berth_policy_hits_total', 'Asked of policy, and known')
  const misses = count('berth_policy_misses_total', 'Asked of policy, and to be read')
  const stale = count('berth_policy_stale_total', 'Answered as last known: it could not be read')

  return {
    known(slot) {
      const entry = entries.get(slot)
      if (!entry || !isCurrent(entry)) return undefined
      hits.inc()
      return entry
    },

    async read(question) {
      misses.inc()
      try {
        return await readOnce(question)
      } catch (error) {
        const entry = entries.get(question.slot)
        if (!entry || !isLastKnown(entry, question.staleSeconds)) throw error
        stale.inc()
        return entry.value
      }
    },

    oldest() {
      let oldest: number | null = null
      for (const entry of entries.values()) {
        if (!evictions.isKept(entry.keys, entry.since)) continue
        oldest = Math.min(oldest ?? Number.POSITIVE_INFINITY, heldAt(entry))
      }
      return oldest
    },
  }

  function isCurrent(entry: Entry<T>): boolean {
    return (
      isWithin(MAX_AGE_MS, entry.readAt) &&
      isWithin(SURE_MS, heldAt(entry)) &&
      evictions.isSure(entry.keys, entry.since)
    )
  }

  function isLastKnown(entry: Entry<T>, staleSeconds: number): boolean {
    const isRecent = isWithin(staleSeconds * 1_000, heldAt(entry))
    return isRecent && evictions.isKept(entry.keys, entry.since)
  }

  /** A time that is still to come tells no age: the clock was set back since. */
  function isWithin(ageMs: number, since: number): boolean {
    const now = clock.now().getTime()
    return since <= now && now < since + ageMs
  }

  /** It held when it was read, and since then as long as no change of it was told. */
  function heldAt({ readAt }: Entry<T>): number {
    return Math.max(readAt, completeAt())
  }

  function readOnce(question: Question<T>): Promise<T> {
    const { slot, keys } = question
    const running = flights.get(slot)
    if (running && evictions.isSure(keys, running.since)) return running.value
    const since = evictions.now()
    const value = readInto(question, since).finally(() => {
      if (flights.get(slot) === flight) flights.delete(slot)
    })
    const flight = { value, since }
    flights.set(slot, flight)
    return value
  }

  async function readInto({ slot, keys, from }: Question<T>, since: number): Promise<T> {
    const readAt = clock.now().getTime()
    const value = await ask(from)
    // One that began after an eviction may have come before this one.
    if (since >= (entries.get(slot)?.since ?? 0)) entries.set(slot, { value, keys, since, readAt })
    return value
  }
}
