import { type Actor, createActor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { type Id, newId } from '@berth/platform/ids'
import { createLru } from '@berth/platform/lru'
import { resolveActor } from '@berth/schema/commands/policy'
import { CredentialRefused } from './issuer.ts'

export type Identity = {
  readonly issuer: string
  readonly subject: string
  /** The organization asked for; null for the person's first one. */
  readonly organizationId: Id<'org'> | null
}

export type Actors = {
  /**
   * Who a verified identity is here, at most 5 s ago.
   *
   * @throws {CredentialRefused} when nobody is known by it
   * @throws {DomainError} FORBIDDEN when they do not belong to the organization asked for,
   * UNAVAILABLE when policy cannot be asked
   */
  of(identity: Identity): Promise<Actor>
}

const MAX_AGE_MS = 5_000
const CACHED_ACTORS = 10_000

/** Asks policy, once at a time for each identity. */
export function createActors({
  commands,
  clock = systemClock,
}: {
  commands: Pick<CommandClient, 'call'>
  clock?: Clock
}): Actors {
  const cache = createLru<string, { actor: Actor; askedAt: number }>(CACHED_ACTORS)
  const asking = new Map<string, Promise<Actor>>()

  return {
    async of(identity) {
      const key = JSON.stringify([identity.issuer, identity.subject, identity.organizationId])
      const known = cache.get(key)
      if (known && clock.now().getTime() - known.askedAt < MAX_AGE_MS) return known.actor
      const asked = asking.get(key) ?? askFor(key, identity)
      return asked
    },
  }

  function askFor(key: string, identity: Identity): Promise<Actor> {
    // As of the question, not of the answer, which may tell of any moment between.
    const askedAt = clock.now().getTime()
    const asked = ask(identity)
      .then((actor) => {
        cache.set(key, { actor, askedAt })
        return actor
      })
      .finally(() => asking.delete(key))
    asking.set(key, asked)
    return asked
  }

  async function ask(identity: Identity): Promise<Actor> {
    const { userId, organizationId, roles } = await commands
      .call(resolveActor, identity, { commandId: newId('cmd') })
      .catch((error: unknown) => {
        throw translated(error)
      })
    return createActor({
      kind: 'person',
      subject: userId as Id<'usr'>,
      organizationId: organizationId as Id<'org'> | null,
      roles,
    })
  }
}

function translated(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  switch (error.code) {
    case 'NOT_FOUND':
      return new CredentialRefused('nobody is known by this identity')
    case 'FORBIDDEN':
      return new DomainError('FORBIDDEN', 'You do not belong to this organization')
    case 'UPSTREAM_UNAVAILABLE':
    case 'UNAVAILABLE':
    case 'TIMEOUT':
      return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
        cause: error,
        retryAfterSeconds: 2,
      })
    default:
      // What policy says of the gateway's own call is no word to the client.
      return new Error('actors.resolve failed', { cause: error })
  }
}
