/** One life of a stream, and how far it got. */
export type StreamState = {
  /** Another value after the stream was deleted and made again. */
  readonly incarnation: string
  /** Number of the last message; lower than before after the server lost some. */
  readonly lastSeq: number
}

export type Delivery = {
  /** Without the bus's namespace. */
  readonly subject: string
  readonly text: string
  /** 1 at first. */
  readonly attempt: number
}

/** Port: durable, ordered messages, at least once. One stream per domain. */
export type Bus = {
  /** Makes the domain's stream if it is not there. */
  ensureStream(domain: string): Promise<StreamState>
  /**
   * Appends a message, or recognizes one of the last two minutes by its id.
   *
   * @param afterSeq number of the message that must be the stream's last
   * @returns its number in the stream
   * @throws {OutOfStep} when it is not
   */
  publish(message: {
    domain: string
    subject: string
    id: string
    text: string
    afterSeq: number
  }): Promise<{ seq: number }>
  /**
   * Gives a durable consumer's messages to the handler one at a time and in order, over all replicas
   * that use its name. A message is done when its handler resolves; when it rejects, or the replica
   * dies, the same one comes again, with growing pauses, before any other.
   */
  consume(options: ConsumeOptions): { stop(): Promise<void> }
  /** @throws when the server does not answer. */
  ping(): Promise<void>
  close(): Promise<void>
}

export type ConsumeOptions = {
  domain: string
  /** Name that the server remembers progress under. */
  durable: string
  handler: (delivery: Delivery) => Promise<void>
  /** How long a dead replica holds the others up. */
  ackWaitSeconds?: number
  /** Pause before an attempt that follows `attempt` failed ones. */
  backoffSeconds?: (attempt: number) => number
}

/** The stream's last message is not the one the publisher takes it for. */
export class OutOfStep extends Error {
  override readonly name = 'OutOfStep'
}
