import type { Standing } from '../authentication/standing.ts'
import type { StreamClient } from '../subscriptions/open.ts'
import type { ClientQueue } from './client-queue.ts'

/** What stands around each answer of one operation in the protocol that carries it. */
export type Envelope = {
  readonly before: string
  readonly after: string
  /** In a protocol without errors of its own: the answer that says why there are no more. */
  readonly errorText?: (error: unknown) => string
}

/** What an operation is answered by: a stream, or a query that runs. */
export type Source = { close(): void }

/**
 * One operation of a client that stays connected. Its answers are text already, and go past the
 * library that speaks the protocol, straight into the client's queue. The library runs `ending`: an
 * iterator that yields nothing and is over when the operation is, so that what it says of the end
 * comes after every answer.
 */
export class LiveOperation implements StreamClient {
  readonly standing: Standing
  readonly ending: Ending
  readonly #queue: ClientQueue
  readonly #envelope: Envelope
  readonly #onOver: (operation: LiveOperation) => void
  #source: Source | null = null
  #isOver = false

  /** @param onOver called once: it has ended, or its client has let go of it */
  constructor(
    standing: Standing,
    queue: ClientQueue,
    envelope: Envelope,
    onOver: (operation: LiveOperation) => void,
  ) {
    this.standing = standing
    this.ending = new Ending(this)
    this.#queue = queue
    this.#envelope = envelope
    this.#onOver = onOver
  }

  /** What closes when the client lets go; at once if that was before. */
  answeredBy(source: Source): void {
    if (!this.#isOver) this.#source = source
    else if (this.ending.isReturned) source.close()
  }

  next(text: string): void {
    if (!this.#isOver) this.#queue.send(this.#envelope.before + text + this.#envelope.after)
  }

  end(error?: unknown): void {
    if (this.#isOver) return
    const { errorText } = this.#envelope
    if (errorText && error !== undefined) this.next(errorText(error))
    this.#isOver = true
    this.#source = null
    this.ending.settle(errorText ? undefined : error)
    this.#onOver(this)
  }

  room(): Promise<void> | null {
    return this.#isOver ? null : this.#queue.room()
  }

  /** Its client wants no more of it: from here on nothing is written. */
  letGo(): void {
    if (this.#isOver) return
    this.#isOver = true
    const source = this.#source
    this.#source = null
    this.#onOver(this)
    source?.close()
  }
}

/**
 * The end of an operation, as an iterator.
 *
 * Once the client has let go (`return`), `next` never settles: the library would otherwise go on
 * with an id that the client may by then have given to another operation. What waits is garbage.
 */
class Ending implements AsyncGenerator<never, undefined> {
  isReturned = false
  readonly #operation: LiveOperation
  #outcome: { error: unknown } | null = null
  #waiting: PromiseWithResolvers<IteratorReturnResult<undefined>> | null = null

  constructor(operation: LiveOperation) {
    this.#operation = operation
  }

  next(): Promise<IteratorReturnResult<undefined>> {
    this.#waiting ??= Promise.withResolvers()
    this.#tell()
    return this.#waiting.promise
  }

  /** @param error undefined when all was told */
  settle(error: unknown): void {
    this.#outcome = { error }
    this.#tell()
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.isReturned = true
    this.#operation.letGo()
    return OVER
  }

  async throw(error: unknown): Promise<never> {
    this.isReturned = true
    this.#operation.letGo()
    throw error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #tell(): void {
    if (!this.#outcome || !this.#waiting) return
    const { error } = this.#outcome
    if (error === undefined) this.#waiting.resolve(OVER)
    else this.#waiting.reject(error)
  }
}

const OVER: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined })
