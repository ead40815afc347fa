/** What carries texts to one client. */
export type Carrier = {
  /**
   * Takes no more now. Whoever made the carrier calls `flush` once it does again; until then the
   * texts wait in the queue.
   */
  readonly isFull: boolean
  write(text: string): void
  /** Too much waits: the client is to be cut off. Called once, after which nothing is written. */
  overflow(): void
}

export type QueueLimits = {
  readonly messages: number
  /** Of the texts that wait, by their length: so many bytes where they are ASCII. */
  readonly characters: number
}

export const QUEUE_LIMITS: QueueLimits = Object.freeze({
  messages: 256,
  characters: 4 * 1024 * 1024,
})

/**
 * What one client was sent and has not taken: bounded, whatever the client does. While nothing
 * waits, a text goes straight to the carrier, and nothing is allocated for it.
 *
 * A text that waits is held by reference: one that goes to a thousand clients is there once.
 */
export class ClientQueue {
  readonly #carrier: Carrier
  readonly #limits: QueueLimits
  #waiting: string[] | null = null
  #characters = 0
  #isClosed = false
  #roomy: PromiseWithResolvers<void> | null = null

  constructor(carrier: Carrier, limits: QueueLimits = QUEUE_LIMITS) {
    this.#carrier = carrier
    this.#limits = limits
  }

  /** Never throws; after the end it does nothing. */
  send(text: string): void {
    if (this.#isClosed) return
    if (this.#waiting === null && !this.#carrier.isFull) this.#carrier.write(text)
    else this.#wait(text)
  }

  /** The carrier takes texts again. */
  flush(): void {
    const waiting = this.#waiting
    if (this.#isClosed || waiting === null) return
    let sent = 0
    while (sent < waiting.length && !this.#carrier.isFull) {
      const text = waiting[sent++] ?? ''
      this.#characters -= text.length
      this.#carrier.write(text)
    }
    if (sent < waiting.length) {
      waiting.splice(0, sent)
      return
    }
    this.#waiting = null
    this.#tellRoom()
  }

  /** For what can be had later too: null while nothing waits, else what resolves then, or at the end. */
  room(): Promise<void> | null {
    if (this.#isClosed || (this.#waiting === null && !this.#carrier.isFull)) return null
    // With nothing waiting, `flush` would have nothing to do when the carrier is free again.
    this.#waiting ??= []
    this.#roomy ??= Promise.withResolvers<void>()
    return this.#roomy.promise
  }

  /** Drops what waits. */
  close(): void {
    this.#isClosed = true
    this.#waiting = null
    this.#characters = 0
    this.#tellRoom()
  }

  #wait(text: string): void {
    this.#waiting ??= []
    this.#waiting.push(text)
    this.#characters += text.length
    const { messages, characters } = this.#limits
    if (this.#waiting.length <= messages && this.#characters <= characters) return
    this.close()
    this.#carrier.overflow()
  }

  #tellRoom(): void {
    this.#roomy?.resolve()
    this.#roomy = null
  }
}
