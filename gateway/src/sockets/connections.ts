import type { Actor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Metrics } from '@berth/platform/metrics'
import { addressOf, holderOf } from '../admit/party.ts'

/** How many connections that last (WebSockets and event streams alike) there may be at once. */
export type ConnectionLimits = {
  readonly total: number
  /** Of one address, known or not who it is: an IPv4 address, or a /64 of IPv6. */
  readonly perAddress: number
  /** Of one person, or of one API key. */
  readonly perActor: number
  readonly perOrganization: number
}

export const CONNECTION_LIMITS: ConnectionLimits = Object.freeze({
  total: 20_000,
  perAddress: 1_000,
  perActor: 200,
  perOrganization: 2_000,
})

/** As configured, and as usual where nothing is. */
export function connectionLimits(
  given: Readonly<Record<keyof ConnectionLimits, number | undefined>>,
): ConnectionLimits {
  return {
    total: given.total ?? CONNECTION_LIMITS.total,
    perAddress: given.perAddress ?? CONNECTION_LIMITS.perAddress,
    perActor: given.perActor ?? CONNECTION_LIMITS.perActor,
    perOrganization: given.perOrganization ?? CONNECTION_LIMITS.perOrganization,
  }
}

export type Connections = {
  /**
   * Takes a place for a connection, before it is known whose.
   *
   * @throws {DomainError} UNAVAILABLE when there is none left, RATE_LIMITED when this address has
   * its share
   */
  enter(clientIp: string, face: Face): Place
}

export type Face = 'websocket' | 'sse'

export type Place = {
  /** Counts it as the actor's too. @throws {DomainError} RATE_LIMITED when they have their share */
  take(actor: Actor): void
  /** Gives the place back; again does nothing. */
  leave(): void
}

/** Until when it is no use to try again; a guess. */
const RETRY_SECONDS = 10

export function createConnections({
  limits,
  metrics,
}: {
  limits: ConnectionLimits
  metrics: Metrics
}): Connections {
  const open = metrics.gauge('berth_client_connections', 'Connections that last, by face', ['face'])
  const refused = metrics.counter(
    'berth_client_connections_refused_total',
    'Connections refused, by the limit that they were beyond',
    ['limit'],
  )
  const counts = new Map<string, number>()
  let total = 0

  return {
    enter(clientIp, face) {
      if (total >= limits.total) {
        refused.inc({ limit: 'total' })
        throw new DomainError('UNAVAILABLE', 'There are too many connections here: try again', {
          retryAfterSeconds: RETRY_SECONDS,
        })
      }
      const keys: string[] = []
      count(keys, `ip:${addressOf(clientIp)}`, limits.perAddress, 'address')
      total++
      open.inc({ face })
      let hasLeft = false
      return {
        take(actor) {
          if (hasLeft || actor.kind === 'anonymous') return
          const holder = holderOf(actor)
          if (holder) count(keys, holder, limits.perActor, 'actor')
          const organization = actor.organizationId
          if (organization) {
            count(keys, `org:${organization}`, limits.perOrganization, 'organization')
          }
        },
        leave() {
          if (hasLeft) return
          hasLeft = true
          total--
          open.dec({ face })
          for (const key of keys) release(key)
        },
      }
    },
  }

  function count(keys: string[], key: string, limit: number, of: string): void {
    const before = counts.get(key) ?? 0
    if (before >= limit) {
      refused.inc({ limit: of })
      throw new DomainError(
        'RATE_LIMITED',
        `This ${of} has ${limit} connections open already: close one, or ask for more over each`,
        { retryAfterSeconds: RETRY_SECONDS },
      )
    }
    counts.set(key, before + 1)
    keys.push(key)
  }

  function release(key: string): void {
    const left = (counts.get(key) ?? 0) - 1
    if (left > 0) counts.set(key, left)
    else counts.delete(key)
  }
}
