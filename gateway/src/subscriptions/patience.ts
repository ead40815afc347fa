import { setTimeout as delay } from 'node:timers/promises'
import { toGraphQLError } from '@berth/platform/errors'
import type { Answer, SubgraphAnswer } from '../federation/answers.ts'

export type Hydrate = (event: SubgraphAnswer) => Promise<Answer>

export type Backoff = { readonly baseMs: number; readonly maxMs: number }

/**
 * Hydrates an event again while a part of it is missing for a reason that may pass, so that a
 * subgraph that restarts costs its events time and no fields.
 *
 * Once hydration has failed for `withinMs`, events go out with their errors at once, until one is
 * whole again: a subgraph that is away for long delays a stream once and not at each event.
 *
 * @param signal ends the waiting
 */
export function patiently(
  hydrate: Hydrate,
  { withinMs, backoff, signal }: { withinMs: number; backoff: Backoff; signal: AbortSignal },
): Hydrate {
  let failingSince: number | null = null
  return async (event) => {
    const startedAt = performance.now()
    for (let attempt = 0; ; attempt++) {
      const answer = await hydrate(event)
      if (answer.errors.length === 0) {
        failingSince = null
        return answer
      }
      if (!mayBecomeWhole(event, answer.errors)) return answer
      failingSince ??= startedAt
      const delayMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** attempt)
      const isOver = performance.now() + delayMs - failingSince > withinMs
      if (isOver || signal.aborted) return answer
      await delay(delayMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return answer
    }
  }
}

/** Whether hydration added an error that may pass; those that the event came with stay as they are. */
function mayBecomeWhole(event: SubgraphAnswer, errors: readonly Error[]): boolean {
  const own = new Set(event.errors?.map(({ path }) => String(path)))
  return errors.some(
    (error) =>
      !own.has(String((error as { path?: unknown }).path)) &&
      toGraphQLError(error, UNHEARD).extensions.retryable === true,
  )
}

/** Whoever shows the errors logs them: here they are only looked at. */
const UNHEARD = { requestId: '', log: { error: () => undefined } }
