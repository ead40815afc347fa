import type { Actor } from '@berth/platform/actor'
import type { Clock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Authenticated, Presented } from './authenticate.ts'
import { type Dependence, type Dependents, dependenceOf } from './dependents.ts'
import { CredentialRefused } from './issuer.ts'
import { isEqual } from './presenter.ts'
import type { Rechecks } from './rechecks.ts'
import type { Now, Standing } from './standing.ts'

/** How often it is found out again though nothing was heard; jittered, so that not all do at once. */
const FALLBACK_MS = { from: 30_000, to: 45_000 }
/** After a failure to find out. */
const RETRY_MS = { from: 1_000, to: 2_000 }
/** How long the last word holds while policy or the issuer cannot be asked. */
const HOLDS_MS = 60_000
const MAX_TIMER_MS = 2 ** 31 - 1

/** What all standings of a gateway share. */
export type Watch = {
  readonly dependents: Dependents<Watched>
  readonly rechecks: Rechecks<Watched>
  readonly clock: Clock
  readonly onOpened: () => void
  readonly onEnded: () => void
  /** One more is in doubt, or one less. */
  readonly onDoubt: (change: 1 | -1) => void
  readonly onChecked: (outcome: 'same' | 'changed' | 'refused' | 'unavailable') => void
}

/** A class and not a closure: a gateway has tens of thousands of them. */
export class Watched implements Standing {
  readonly #watch: Watch
  readonly #presented: Presented
  readonly #log: Log
  #now: Now
  /** As last confirmed; what a doubt goes back to if nothing has changed. */
  #known: Actor
  #on: Dependence
  #expiresAt: Date | null
  #confirmedAt: number
  #listeners: Set<(now: Now) => void> | undefined
  #waiting: PromiseWithResolvers<Actor> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(watch: Watch, presented: Presented, first: Authenticated, log: Log) {
    this.#watch = watch
    this.#presented = presented
    this.#log = log
    this.#now = first.actor
    this.#known = first.actor
    this.#on = dependenceOf(first.actor, first.signingKeys)
    this.#expiresAt = first.expiresAt
    this.#confirmedAt = watch.clock.now().getTime()
    watch.onOpened()
    // Nobody stays nobody.
    if (first.actor.kind === 'anonymous') return
    watch.dependents.add(this, this.#on)
    this.#schedule(FALLBACK_MS)
  }

  get now(): Now {
    return this.#now
  }

  get on(): Dependence {
    return this.#on
  }

  actor(): Promise<Actor> {
    const now = this.#now
    if (now instanceof DomainError) return Promise.reject(now)
    if (now !== null) return Promise.resolve(now)
    this.#waiting ??= Promise.withResolvers<Actor>()
    return this.#waiting.promise
  }

  watch(listener: (now: Now) => void): () => void {
    const own = (now: Now) => listener(now)
    this.#listeners ??= new Set()
    this.#listeners.add(own)
    return () => void this.#listeners?.delete(own)
  }

  close(): void {
    // Nobody is told of what they did themselves.
    this.#listeners = undefined
    if (this.#now instanceof DomainError) return
    this.#become(new DomainError('UNAVAILABLE', 'The connection is closed'))
  }

  /** From now on nobody relies on what was known. */
  doubt(): void {
    if (this.#now instanceof DomainError) return
    if (this.#now !== null) this.#become(null)
    this.#watch.rechecks.add(this, this.#presented)
  }

  /** What the question came to that was asked for it last. */
  settle(outcome: PromiseSettledResult<Authenticated>): void {
    if (this.#now instanceof DomainError) return
    if (outcome.status === 'fulfilled') this.#confirm(outcome.value)
    else if (isFinal(outcome.reason)) this.#refuse(outcome.reason)
    else this.#postpone(outcome.reason)
  }

  #confirm({ actor, expiresAt, signingKeys }: Authenticated): void {
    const isSame = isEqual(this.#known, actor)
    this.#confirmedAt = this.#watch.clock.now().getTime()
    this.#expiresAt = expiresAt
    if (!isSame) {
      this.#known = actor
      this.#watch.dependents.delete(this, this.#on)
      this.#on = dependenceOf(actor, signingKeys)
      this.#watch.dependents.add(this, this.#on)
    }
    this.#watch.onChecked(isSame ? 'same' : 'changed')
    this.#schedule(FALLBACK_MS)
    if (this.#now !== this.#known) this.#become(this.#known)
  }

  #refuse(reason: DomainError | CredentialRefused): void {
    this.#watch.onChecked('refused')
    this.#log.info({ reason: reason.message }, 'a connection may not ask any more')
    this.#become(
      reason instanceof DomainError
        ? reason
        : new DomainError('UNAUTHENTICATED', 'The credential is not valid: sign in again'),
    )
  }

  /** No word is no refusal: what was known holds for a while, and a doubt stays one. */
  #postpone(reason: unknown): void {
    this.#watch.onChecked('unavailable')
    this.#log.debug({ err: reason }, 'who asks cannot be found out now')
    this.#schedule(RETRY_MS)
    this.#waiting?.reject(unavailable(reason))
    this.#waiting = undefined
    const isOver = this.#watch.clock.now().getTime() >= this.#confirmedAt + HOLDS_MS
    if (this.#now !== null && isOver) this.#become(null)
  }

  #become(next: Now): void {
    if (this.#now === null) this.#watch.onDoubt(-1)
    if (next === null) this.#watch.onDoubt(1)
    this.#now = next
    if (next instanceof DomainError) {
      clearTimeout(this.#timer)
      this.#watch.dependents.delete(this, this.#on)
      this.#watch.onEnded()
      this.#waiting?.reject(next)
    } else if (next !== null) this.#waiting?.resolve(next)
    if (next !== null) this.#waiting = undefined
    if (this.#listeners) for (const listener of this.#listeners) this.#tell(listener, next)
  }

  #tell(listener: (now: Now) => void, next: Now): void {
    try {
      listener(next)
    } catch (error) {
      this.#log.error({ err: error }, 'a listener failed on a change of authority')
    }
  }

  /** The next of: finding out again, and the credential's end. */
  #schedule({ from, to }: { from: number; to: number }): void {
    clearTimeout(this.#timer)
    const pauseMs = from + Math.random() * (to - from)
    const remainingMs = this.#expiresAt
      ? this.#expiresAt.getTime() - this.#watch.clock.now().getTime()
      : Number.POSITIVE_INFINITY
    const isLast = remainingMs <= pauseMs
    const ms = Math.min(Math.max(isLast ? remainingMs : pauseMs, 0), MAX_TIMER_MS)
    this.#timer = setTimeout(Watched.#due, ms, this, isLast)
    this.#timer.unref()
  }

  static #due(it: Watched, isLast: boolean): void {
    if (isLast) it.#become(new DomainError('UNAUTHENTICATED', 'The credential has expired'))
    else it.#watch.rechecks.add(it, it.#presented)
  }
}

function unavailable(cause: unknown): DomainError {
  if (cause instanceof DomainError && cause.code === 'UNAVAILABLE') return cause
  return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
    cause,
    retryAfterSeconds: 2,
  })
}

const FINAL = new Set(['UNAUTHENTICATED', 'FORBIDDEN', 'NOT_FOUND'])

function isFinal(reason: unknown): reason is DomainError | CredentialRefused {
  if (reason instanceof CredentialRefused) return true
  return reason instanceof DomainError && FINAL.has(reason.code)
}
