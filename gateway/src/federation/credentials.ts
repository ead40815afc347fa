import { type Actor, type Authority, actorToClaims, narrow } from '@berth/platform/actor'
import { ACTOR_EXTENSION, ACTOR_HEADER, type AssertionSigner } from '@berth/platform/assertion'
import { type Clock, systemClock } from '@berth/platform/clock'
import { decodeJwt } from 'jose'

/** What calls of subgraphs carry of who asks. */
export type Credentials = {
  /**
   * Equal exactly for those whom every subgraph must answer alike; part of the key of all that is
   * shared.
   */
  readonly sharingKey: string
  /** Nobody else has this key: it need not be looked for. */
  readonly isAlone?: boolean
  /** The same, reduced to what an operation of this authority may depend on. */
  narrow(authority: Authority): Credentials
  /** Headers of one call over HTTP (lower-case names). The caller does not change them. */
  headers(service: string): Record<string, string> | Promise<Record<string, string>>
  /** What a subscription at the owner carries, over graphql-ws. */
  subscription(service: string): Promise<UpstreamCredentials>
}

export type UpstreamCredentials = {
  /** `extensions` of the subscribe message. */
  readonly extensions: Readonly<Record<string, unknown>>
  /** One socket carries all that have the same key; '' where nothing of who asks is on the socket. */
  readonly socketKey: string
  readonly socketHeaders: Readonly<Record<string, string>>
  readonly connectionParams?: Readonly<Record<string, unknown>>
  /** When the owner will stop believing it; null: never. */
  readonly expiresAt: Date | null
}

/**
 * The platform's own: a signed assertion of the actor. The same actor has the same credentials, and
 * nothing of them is computed twice.
 */
export function createActorCredentials(
  signer: AssertionSigner,
  clock: Clock = systemClock,
): (actor: Actor) => Credentials {
  // By identity: actors are frozen, and authentication gives the same one for as long as it may.
  const known = new WeakMap<Actor, Credentials>()
  return of

  function of(actor: Actor): Credentials {
    const cached = known.get(actor)
    if (cached) return cached
    const credentials = new ActorCredentials(actor, { signer, clock, of })
    known.set(actor, credentials)
    return credentials
  }
}

type Deps = {
  readonly signer: AssertionSigner
  readonly clock: Clock
  readonly of: (actor: Actor) => Credentials
}

/** Headers with an assertion, and when to ask the signer again: in half of the time that it has left. */
type Signed = { readonly headers: Record<string, string>; readonly renewAt: number }

class ActorCredentials implements Credentials {
  readonly #actor: Actor
  readonly #deps: Deps
  readonly #signed = new Map<string, Signed>()
  readonly #narrowed: Partial<Record<Authority, Credentials>> = {}
  #sharingKey: string | undefined

  constructor(actor: Actor, deps: Deps) {
    this.#actor = actor
    this.#deps = deps
  }

  get sharingKey(): string {
    // Canonical: claims are written in one order, and an actor's roles and scopes are sorted.
    this.#sharingKey ??= JSON.stringify(actorToClaims(this.#actor))
    return this.#sharingKey
  }

  narrow(authority: Authority): Credentials {
    this.#narrowed[authority] ??= this.#deps.of(narrow(this.#actor, authority))
    return this.#narrowed[authority]
  }

  headers(service: string): Record<string, string> | Promise<Record<string, string>> {
    const signed = this.#signed.get(service)
    return signed !== undefined && this.#now() < signed.renewAt
      ? signed.headers
      : this.#sign(service)
  }

  async subscription(service: string): Promise<UpstreamCredentials> {
    const token = await this.#deps.signer.sign(this.#actor, service)
    return {
      extensions: { [ACTOR_EXTENSION]: token },
      socketKey: '',
      socketHeaders: {},
      expiresAt: new Date(expiryOf(token)),
    }
  }

  async #sign(service: string): Promise<Record<string, string>> {
    const token = await this.#deps.signer.sign(this.#actor, service)
    const now = this.#now()
    const headers = { [ACTOR_HEADER]: token }
    this.#signed.set(service, { headers, renewAt: now + (expiryOf(token) - now) / 2 })
    return headers
  }

  #now(): number {
    return this.#deps.clock.now().getTime()
  }
}

function expiryOf(token: string): number {
  const { exp } = decodeJwt(token)
  if (exp === undefined) throw new TypeError('an assertion that does not expire')
  return exp * 1000
}
