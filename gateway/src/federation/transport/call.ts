import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Replica } from '@berth/platform/peers'
import type { SubgraphAnswer, Take } from '../answers.ts'
import { Exchange, type ExchangeOwner, ProtocolError } from './exchange.ts'
import { fullJitter } from './jitter.ts'
import type { SubgraphLimits } from './limits.ts'
import type { Outage, Waiting } from './outage.ts'
import { isGatewayStatus, parseAnswer } from './parse-answer.ts'
import type { Replicas } from './replicas.ts'
import type { RetryBudget } from './retry-budget.ts'

/** What the calls of one subgraph have in common. */
export type Subgraph = {
  readonly service: string
  readonly path: string
  readonly limits: SubgraphLimits
  readonly replicas: Replicas
  readonly outage: Outage
  readonly budget: RetryBudget
  /** Exchanges that undici holds, those that nobody waits for any more among them. */
  inFlight: number
  repeated(reason: RepeatReason): void
  /** Told of every call once, before its promise is. */
  settled(call: Call, error: unknown): void
}

export type Asked = {
  /** JSON text. */
  readonly body: string
  readonly isMutation: boolean
  readonly isProbe: boolean
  /** Reads an answer in place of parsing it, if it can. */
  readonly take: Take | undefined
  /** Of the operation. */
  readonly log: Log
}

export type RepeatReason = 'stale' | 'broken' | 'refused'

const MAX_REPEATS = 2
const REPEAT_BASE_MS = 50
const REPEAT_MAX_MS = 1_000

/**
 * One request of a subgraph, until it has an answer or there can be none: within one deadline over
 * all its exchanges. What was certainly not sent goes to another replica, or waits for one; what may
 * have arrived is repeated only if it is a read.
 */
export class Call implements ExchangeOwner, Waiting {
  readonly startedAt = performance.now()
  readonly promise: Promise<SubgraphAnswer>
  readonly isProbe: boolean
  /** Of the operation. */
  readonly log: Log
  readonly #subgraph: Subgraph
  readonly #body: string
  readonly #take: Take | undefined
  readonly #isMutation: boolean
  #headers: Record<string, string> = {}
  #resolve!: (answer: SubgraphAnswer) => void
  #reject!: (error: unknown) => void
  #deadline: NodeJS.Timeout
  #pause: NodeJS.Timeout | undefined
  #exchange: Exchange | null = null
  #replica: Replica | null = null
  #isWaiting = false
  #isSettled = false
  /** Replicas found out of reach, of this round. */
  #missed = 0
  #repeats = 0

  constructor(subgraph: Subgraph, { body, isMutation, isProbe, take, log }: Asked) {
    this.#subgraph = subgraph
    this.#body = body
    this.#take = take
    this.#isMutation = isMutation
    this.isProbe = isProbe
    this.log = log
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    const { queryTimeoutMs, mutationTimeoutMs } = subgraph.limits
    this.#deadline = setTimeout(expire, isMutation ? mutationTimeoutMs : queryTimeoutMs, this)
  }

  begin(headers: Record<string, string>): void {
    // The deadline was sooner than the headers: nobody waits, and a write must not happen yet.
    if (this.#isSettled) return
    this.#headers = headers
    // A probe is there to find out.
    if (!this.isProbe && this.#subgraph.outage.isOn) this.#wait(undefined)
    else this.#send()
  }

  fail(error: unknown): void {
    this.#settle(error, undefined)
  }

  resume(): void {
    this.#isWaiting = false
    this.#send()
  }

  giveUp(): void {
    this.#isWaiting = false
    this.fail(this.#unavailable(undefined))
  }

  answered(exchange: Exchange, status: number, bytes: Buffer): void {
    this.#subgraph.inFlight--
    if (exchange !== this.#exchange) return
    let answer: SubgraphAnswer
    try {
      const isTaken = status === 200 && this.#take?.(bytes) === true
      answer = isTaken
        ? { taken: bytes }
        : parseAnswer(this.#subgraph.service, status, bytes.toString('utf8'))
    } catch (error) {
      this.#refused(error)
      return
    }
    this.#subgraph.outage.reached()
    // A subgraph that says so in GraphQL's words: they are what is left when it goes on saying so.
    if (isGatewayStatus(status) && this.#canRepeat()) this.#repeat('refused')
    else this.#settle(undefined, answer)
  }

  failed(exchange: Exchange, error: Error & { code?: unknown }): void {
    this.#subgraph.inFlight--
    if (exchange !== this.#exchange) return
    const { service, outage } = this.#subgraph
    const code = typeof error.code === 'string' ? error.code : ''
    if (error instanceof DomainError || error instanceof ProtocolError) this.fail(error)
    else if (isOurs(code)) this.fail(new Error(`${service} could not be asked`, { cause: error }))
    else if (isProtocol(error, code)) {
      this.fail(new ProtocolError(`${service} answered with broken HTTP`, { cause: error }))
    } else if (isClosing(code)) this.fail(this.#unavailable(error))
    else if (!exchange.isSent) this.#outOfReach(error)
    else if (this.#isStale(exchange)) {
      this.#subgraph.repeated('stale')
      this.#repeats++
      this.#send()
    } else if (this.#canRepeat()) this.#repeat('broken')
    else {
      if (exchange.isAnswering) outage.reached()
      this.fail(new DomainError('UPSTREAM_UNAVAILABLE', `${service} broke off`, { cause: error }))
    }
  }

  /** The deadline has come. */
  expire(): void {
    const { service } = this.#subgraph
    this.fail(
      this.#isWaiting
        ? this.#unavailable(undefined)
        : new DomainError('TIMEOUT', `The service ${service} took too long`),
    )
  }

  #send(): void {
    const { service, path, limits, replicas } = this.#subgraph
    if (this.#subgraph.inFlight >= limits.maxInFlight) {
      this.fail(new DomainError('UNAVAILABLE', `Too many calls of ${service} at once`))
      return
    }
    this.#subgraph.inFlight++
    this.#replica = replicas.next()
    this.#exchange = new Exchange(this, service, limits.maxAnswerBytes)
    // Once a connection broke, its like are not trusted.
    const by = this.#repeats > 0 ? this.#replica.fresh : this.#replica.kept
    by.dispatch(
      {
        method: 'POST',
        path,
        headers: this.#headers,
        body: this.#body,
        // The call's own deadline is the only one.
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      this.#exchange,
    )
  }

  /** What answered is not the graph. */
  #refused(error: unknown): void {
    const isRefusal = error instanceof DomainError
    if (isRefusal && error.code === 'UNAVAILABLE') {
      // It is draining: another one takes over, or it itself once it has restarted.
      if (this.#isMutation) this.fail(error)
      else this.#outOfReach(error)
      return
    }
    this.#subgraph.outage.reached()
    if (isRefusal && this.#canRepeat()) this.#repeat('refused')
    else this.fail(error)
  }

  #outOfReach(error: unknown): void {
    const { replicas } = this.#subgraph
    if (this.#replica) replicas.away(this.#replica)
    if (++this.#missed < replicas.count) {
      this.#send()
      return
    }
    this.#missed = 0
    this.#wait(error)
  }

  #wait(error: unknown): void {
    this.#exchange = null
    if (!this.#subgraph.outage.wait(this) || this.isProbe) {
      if (this.isProbe) this.#subgraph.outage.leave(this)
      this.fail(error instanceof DomainError ? error : this.#unavailable(error))
    } else this.#isWaiting = true
  }

  /**
   * Whether it met a kept connection that the other side was closing: no byte of an answer came
   * (RFC 9112, section 9.3.1). That is no sign of trouble, and costs none of the budget; the
   * repetition goes over a new connection, so it cannot be so twice.
   */
  #isStale({ isAnswering }: Exchange): boolean {
    return !this.#isMutation && !isAnswering && this.#repeats === 0
  }

  #canRepeat(): boolean {
    return (
      !this.#isMutation &&
      this.#repeats < MAX_REPEATS &&
      this.#subgraph.budget.spend(performance.now())
    )
  }

  #repeat(reason: RepeatReason): void {
    this.#exchange = null
    this.#subgraph.repeated(reason)
    const delayMs = fullJitter(this.#repeats++, REPEAT_BASE_MS, REPEAT_MAX_MS)
    this.#pause = setTimeout(repeat, delayMs, this)
  }

  /** After a pause. */
  repeat(): void {
    this.#send()
  }

  #unavailable(cause: unknown): DomainError {
    return new DomainError(
      'UPSTREAM_UNAVAILABLE',
      `The service ${this.#subgraph.service} does not answer`,
      cause === undefined ? {} : { cause },
    )
  }

  #settle(error: unknown, answer: SubgraphAnswer | undefined): void {
    if (this.#isSettled) return
    this.#isSettled = true
    clearTimeout(this.#deadline)
    clearTimeout(this.#pause)
    if (this.#isWaiting) this.#subgraph.outage.leave(this)
    const exchange = this.#exchange
    this.#exchange = null
    if (answer === undefined) exchange?.abandon()
    this.#subgraph.settled(this, error)
    if (answer === undefined) this.#reject(error)
    else this.#resolve(answer)
  }
}

function expire(call: Call): void {
  call.expire()
}

function repeat(call: Call): void {
  call.repeat()
}

/** undici refused the request itself, such as a header that is none. */
function isOurs(code: string): boolean {
  return code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED'
}

function isClosing(code: string): boolean {
  return code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED'
}

/** What came was no HTTP, as opposed to HTTP that ended too early. */
function isProtocol({ name }: Error, code: string): boolean {
  return (
    (name === 'HTTPParserError' && code !== 'HPE_INVALID_EOF_STATE') ||
    code === 'UND_ERR_HEADERS_OVERFLOW'
  )
}
