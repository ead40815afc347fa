import type { DomainError } from '@berth/platform/errors'
import type { Standing } from '../authentication/standing.ts'
import type { ClientQueue } from './client-queue.ts'
import { type Envelope, LiveOperation } from './live-operation.ts'

/** For streams to say why they end, before their connection does. */
const ENDING_MS = 200

/** How many are open on all connections of a face. */
export type OpenCount = { inc(): void; dec(): void }

/** The operations that are open on one connection. */
export class OpenOperations {
  readonly #open = new Set<LiveOperation>()
  readonly #count: OpenCount
  #ending: (() => void) | null = null

  constructor(count: OpenCount) {
    this.#count = count
  }

  get size(): number {
    return this.#open.size
  }

  add(standing: Standing, queue: ClientQueue, envelope: Envelope): LiveOperation {
    const operation = new LiveOperation(standing, queue, envelope, (it) => this.#remove(it))
    this.#open.add(operation)
    this.#count.inc()
    return operation
  }

  /**
   * Who asks may not ask any more: what is open ends first, each by its own rules, and then the
   * connection. What has not ended soon ends with it.
   */
  endAll(error: DomainError, close: (error: DomainError) => void): void {
    if (this.#ending) return
    // Once what the protocol says of the end of the last one is on its way.
    this.#ending = () => setImmediate(close, error)
    if (this.size === 0) this.#ending()
    else setTimeout(close, ENDING_MS, error).unref()
  }

  letGo(): void {
    for (const it of [...this.#open]) it.letGo()
  }

  #remove(operation: LiveOperation): void {
    this.#open.delete(operation)
    this.#count.dec()
    if (this.size === 0) this.#ending?.()
  }
}
