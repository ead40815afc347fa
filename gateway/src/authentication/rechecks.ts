import type { Presented } from './authenticate.ts'

export type Rechecks<T> = {
  /** Asks for it, in a question that begins after this call. */
  add(item: T, presented: Presented): void
}

/** Questions at once: a change that concerns thousands must not be a storm upon policy. */
const CONCURRENT = 16

type Question<T> = { readonly presented: Presented; readonly items: Set<T> }

/**
 * Asks again for many: those that present the same share a question, and few are asked at a time.
 * What asks again while it is being asked for gets the later answer alone.
 *
 * @param settle is given each outcome; it must not throw
 */
export function createRechecks<T, R>({
  ask,
  settle,
}: {
  ask: (presented: Presented) => Promise<R>
  settle: (item: T, outcome: PromiseSettledResult<R>) => void
}): Rechecks<T> {
  const waiting = new Map<string, Question<T>>()
  /** The question whose answer each is waiting for. */
  const latest = new Map<T, Question<T>>()
  let running = 0

  return {
    add(item, presented) {
      const { organizationId = '', authorization = '', cookie = '', clientIp } = presented
      // The address too: a key may be good from one and not from another.
      const key = JSON.stringify([organizationId, authorization, cookie, clientIp])
      let question = waiting.get(key)
      if (!question) {
        question = { presented, items: new Set() }
        waiting.set(key, question)
      }
      question.items.add(item)
      latest.set(item, question)
      // Not within the call: of one that concerns many the first would be asked alone.
      queueMicrotask(askNext)
    },
  }

  function askNext(): void {
    while (running < CONCURRENT) {
      const next = waiting.entries().next().value
      if (!next) return
      const [key, question] = next
      waiting.delete(key)
      running++
      void answer(question)
    }
  }

  async function answer(question: Question<T>): Promise<void> {
    const [outcome] = await Promise.allSettled([ask(question.presented)])
    running--
    for (const item of question.items) {
      if (latest.get(item) !== question) continue
      latest.delete(item)
      settle(item, outcome)
    }
    askNext()
  }
}
