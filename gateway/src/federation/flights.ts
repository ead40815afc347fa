import { type Actor, subjectOf } from '@berth/platform/actor'
import type { Metrics } from '@berth/platform/metrics'
import type { Answer } from './answers.ts'

/** Reads that are on their way, so that equal ones are one. */
export type Flights = {
  /**
   * What `run` comes to, or an equal read that is on its way: equal keys must mean equal answers,
   * whoever asks. A read is not joined once its caller has written since it began: the person or
   * key, or anyone of the organization that is acted for.
   */
  share(key: string, caller: Actor, run: () => Promise<Answer>): Promise<Answer>
  /** A write of this caller was answered; of nobody in particular, it counts as everyone's. */
  wrote(caller: Actor): void
}

/** Without its answer once that is there: a map's old tables keep what was in them for a while. */
type Flight = { answer: Promise<Answer> | null; readonly began: number }

/** Reads beyond these run unshared. */
const MAX_FLIGHTS = 10_000
const MAX_WRITERS = 10_000

/**
 * Sharing ends with the answer: nothing is kept. What a client was told to be written, it finds in
 * whatever it reads next through this gateway, whichever graph either ran in.
 *
 * @returns makes the flights of one graph: equal operations of another may be answered otherwise.
 * Writes concern those of every graph.
 */
export function createFlights({ metrics }: { metrics: Pick<Metrics, 'counter'> }): () => Flights {
  const shared = metrics.counter(
    'berth_gateway_shared_reads_total',
    'Reads that were answered by an equal one that was on its way',
  )
  // In the order of the writes: the first is the oldest.
  const writes = new Map<string, number>()
  let everyoneWrote = 0
  let lastWrite = 0
  let now = 0
  /** Of all graphs. */
  let count = 0
  return flightsOfGraph

  function flightsOfGraph(): Flights {
    const flights = new Map<string, Flight>()
    return {
      share(key, caller, run) {
        const known = flights.get(key)
        if (known?.answer && !hasWrittenSince(known.began, caller)) {
          shared.inc()
          return known.answer
        }
        const began = ++now
        const answer = run()
        if (known || count < MAX_FLIGHTS) {
          const flight: Flight = { answer, began }
          if (!known) count++
          flights.set(key, flight)
          const forget = () => {
            flight.answer = null
            if (flights.get(key) !== flight) return
            flights.delete(key)
            count--
          }
          answer.then(forget, forget)
        }
        return answer
      },
      wrote,
    }
  }

  function wrote(caller: Actor): void {
    lastWrite = ++now
    // Only reads that are on their way can be too old.
    if (count === 0) {
      writes.clear()
      return
    }
    const { organizationId } = caller
    const writer = writerOf(caller)
    if (writer !== null) record(writer)
    if (organizationId === null) everyoneWrote = lastWrite
    else record(organizationId)
  }

  function record(writer: string): void {
    writes.delete(writer)
    writes.set(writer, lastWrite)
    if (writes.size > MAX_WRITERS) forgetOldest()
  }

  function hasWrittenSince(began: number, caller: Actor): boolean {
    // So it is nearly always.
    if (lastWrite < began) return false
    if (everyoneWrote > began) return true
    const { organizationId } = caller
    if (organizationId !== null && (writes.get(organizationId) ?? 0) > began) return true
    const writer = writerOf(caller)
    return writer !== null && (writes.get(writer) ?? 0) > began
  }

  /** Then it counts as everyone's. */
  function forgetOldest(): void {
    const [oldest] = writes
    if (!oldest) return
    const [writer, at] = oldest
    writes.delete(writer)
    everyoneWrote = Math.max(everyoneWrote, at)
  }
}

/** The person, whichever organization they act for; or the key. */
function writerOf(caller: Actor): string | null {
  return subjectOf(caller) ?? caller.credential ?? null
}
