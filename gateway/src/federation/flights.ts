import type { Metrics } from '@berth/platform/metrics'
import type { Answer } from './executor.ts'

/** Reads that are on their way, so that equal ones are one. */
export type Flights = {
  /**
   * What `run` comes to, or an equal read that is on its way: equal keys must mean equal answers,
   * whoever asks. A read is not joined once the caller's organization has written since it began.
   *
   * @param organizationId of the caller
   */
  share(key: string, organizationId: string | null, run: () => Promise<Answer>): Promise<Answer>
  /** A write of this organization was answered; null: of nobody in particular, so of everyone. */
  wrote(organizationId: string | null): void
}

type Flight = { readonly answer: Promise<Answer>; readonly began: number }

/** Reads beyond these run unshared. */
const MAX_FLIGHTS = 10_000
const MAX_WRITERS = 10_000

/**
 * Sharing ends with the answer: nothing is kept. What a client was told to be written, it finds in
 * whatever it reads next through this gateway.
 */
export function createFlights({ metrics }: { metrics: Pick<Metrics, 'counter'> }): Flights {
  const shared = metrics.counter(
    'berth_gateway_shared_reads_total',
    'Reads that were answered by an equal one that was on its way',
  )
  const flights = new Map<string, Flight>()
  // In the order of the writes: the first is the oldest.
  const writes = new Map<string, number>()
  let everyoneWrote = 0
  let now = 0

  return {
    share(key, organizationId, run) {
      const known = flights.get(key)
      if (known && known.began > lastWriteOf(organizationId)) {
        shared.inc()
        return known.answer
      }
      const began = ++now
      const answer = run()
      if (known || flights.size < MAX_FLIGHTS) {
        const flight: Flight = { answer, began }
        flights.set(key, flight)
        const forget = () => {
          if (flights.get(key) === flight) flights.delete(key)
        }
        answer.then(forget, forget)
      }
      return answer
    },
    wrote(organizationId) {
      const at = ++now
      // Only reads that are on their way can be too old.
      if (flights.size === 0) writes.clear()
      else if (organizationId === null) everyoneWrote = at
      else {
        writes.delete(organizationId)
        writes.set(organizationId, at)
        if (writes.size > MAX_WRITERS) forgetOldest()
      }
    },
  }

  function lastWriteOf(organizationId: string | null): number {
    const own = organizationId === null ? undefined : writes.get(organizationId)
    return own === undefined || own < everyoneWrote ? everyoneWrote : own
  }

  /** Then it counts as everyone's. */
  function forgetOldest(): void {
    const [oldest] = writes
    if (!oldest) return
    const [organizationId, at] = oldest
    writes.delete(organizationId)
    everyoneWrote = Math.max(everyoneWrote, at)
  }
}
