import type { ServerResponse } from 'node:http'
import { type Actor, subjectOf } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Credentials } from '../federation/credentials.ts'
import { type Carrier, ClientQueue, type QueueLimits } from './client-queue.ts'
import type { Place } from './connections.ts'
import { type OpenCount, OpenOperations } from './open-operations.ts'
import type { Caller } from './operations.ts'

/** Of graphql-sse: an operation's end, its pings, and what else it says by itself. */
export type StreamBody = AsyncGenerator<string, void, undefined>

/**
 * One stream of server-sent events: a connection that lasts, of one who asks. It may be asked for
 * more before it is connected; until then its texts wait.
 */
export class EventStream implements Carrier {
  readonly queue: ClientQueue
  readonly operations: OpenOperations
  /** Ids of what is being admitted, with what was asked for by them. */
  readonly preparing = new Map<string, unknown>()
  readonly caller: Caller
  readonly #actor: Actor
  readonly #place: Place
  readonly #log: Log
  readonly #onClosed: (reason: string) => void
  #response: ServerResponse | null = null
  #body: StreamBody | null = null
  #isClosed = false

  /** @param onClosed called once, with a code or `closed` for one that came to its end */
  constructor(of: {
    caller: Caller
    actor: Actor
    place: Place
    queueLimits: QueueLimits
    count: OpenCount
    log: Log
    onClosed: (reason: string) => void
  }) {
    this.queue = new ClientQueue(this, of.queueLimits)
    this.operations = new OpenOperations(of.count)
    this.caller = of.caller
    this.#actor = of.actor
    this.#place = of.place
    this.#log = of.log
    this.#onClosed = of.onClosed
    of.caller.standing.watch((now) => {
      if (now instanceof DomainError) this.operations.endAll(now, (error) => this.end(error))
    })
  }

  get isConnected(): boolean {
    return this.#response !== null
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get isFull(): boolean {
    return this.#response === null || this.#response.writableNeedDrain
  }

  /** Whether whoever asks now is who it was opened by, whichever token they have by now. */
  async isOf(actor: Actor, credentials: Credentials): Promise<boolean> {
    const { kind, organizationId } = this.#actor
    if (actor.kind !== kind || actor.organizationId !== organizationId) return false
    if (kind === 'person') return subjectOf(actor) === subjectOf(this.#actor)
    if (kind !== 'anonymous') return actor.credential === this.#actor.credential
    return (
      (await senderOf(credentials)) === (await senderOf(this.caller.credentialsOf(this.#actor)))
    )
  }

  /** Carries it, until one of the two ends. */
  async connect(response: ServerResponse, body: StreamBody): Promise<void> {
    this.#response = response
    this.#body = body
    response.on('drain', () => this.queue.flush())
    response.once('close', () => this.close('closed'))
    if (this.#isClosed || response.destroyed) {
      this.close('closed')
      await body.return()
      response.destroy()
      return
    }
    this.queue.flush()
    for await (const text of body) this.queue.send(text)
    for (let room = this.queue.room(); room; room = this.queue.room()) await room
    this.close('closed')
  }

  write(text: string): void {
    this.#response?.write(text)
  }

  overflow(): void {
    this.end(new DomainError('SLOW_CLIENT', 'The client does not keep up'))
  }

  /** Its client is told by the connection that is lost: there is no close code here. */
  end(error: DomainError): void {
    if (this.#isClosed) return
    const { code, message } = error
    this.#log.info({ code, reason: message }, 'ending an event stream')
    this.close(code)
  }

  close(reason: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.queue.close()
    this.operations.letGo()
    this.caller.standing.close()
    this.#place.leave()
    this.#body?.return().catch((err: unknown) => this.#log.error({ err }, 'event stream'))
    // What is written already is for a client that reads; one that does not is cut off.
    if (reason === 'SLOW_CLIENT') this.#response?.destroy()
    else this.#response?.end()
    this.#onClosed(reason)
  }
}

/** Of whom nothing else is known. Who shares no answers still has the same socket. */
async function senderOf(credentials: Credentials): Promise<string> {
  if (!credentials.isAlone) return credentials.sharingKey
  const { socketKey } = await credentials.subscription('')
  return socketKey
}
