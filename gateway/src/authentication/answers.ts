import { type Clock, systemClock } from '@berth/platform/clock'
import type { Concern } from '@berth/platform/revocations'
import { createDependents, type Dependence } from './dependents.ts'

/** What policy said of those who ask, kept for a moment by what they present. */
export type Answers<T> = {
  /** As of a question of at most 5 s ago; undefined where none is kept. */
  known(key: string): T | undefined
  /** Asks, once at a time for each key. What a concern overtakes is not kept. */
  ask(key: string, question: () => Promise<T>): Promise<T>
  /** Whoever is concerned is asked for anew; what is on its way was asked before, and is not kept. */
  evict(concern: Concern): void
}

const MAX_AGE_MS = 5_000
const KEPT = 10_000

type Entry<T> = { key: string; value: T; askedAt: number; on: Dependence }

export function createAnswers<T>({
  dependenceOf,
  clock = systemClock,
}: {
  dependenceOf: (value: T) => Dependence
  clock?: Clock
}): Answers<T> {
  // In the order of their age, which is that of their insertion.
  const entries = new Map<string, Entry<T>>()
  const dependents = createDependents<Entry<T>>()
  const asking = new Map<string, Promise<T>>()

  return {
    known(key) {
      const entry = entries.get(key)
      return entry && clock.now().getTime() - entry.askedAt < MAX_AGE_MS ? entry.value : undefined
    },
    ask: (key, question) => asking.get(key) ?? askAnew(key, question),
    evict(concern) {
      if (concern.kind === 'policy') return
      for (const entry of dependents.of(concern)) forget(entry)
      // Whom these are about is not known yet: none of them is joined or kept.
      asking.clear()
    },
  }

  function askAnew(key: string, question: () => Promise<T>): Promise<T> {
    // As of the question, not of the answer, which may tell of any moment between.
    const askedAt = clock.now().getTime()
    const asked = question()
      .then((value) => {
        if (asking.get(key) === asked) keep({ key, value, askedAt, on: dependenceOf(value) })
        return value
      })
      .finally(() => {
        if (asking.get(key) === asked) asking.delete(key)
      })
    asking.set(key, asked)
    return asked
  }

  function keep(entry: Entry<T>): void {
    const old = entries.get(entry.key)
    if (old) forget(old)
    entries.set(entry.key, entry)
    dependents.add(entry, entry.on)
    if (entries.size <= KEPT) return
    const oldest = entries.values().next().value
    if (oldest) forget(oldest)
  }

  function forget(entry: Entry<T>): void {
    entries.delete(entry.key)
    dependents.delete(entry, entry.on)
  }
}
