import { type Actor, createActor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { type Id, newId } from '@berth/platform/ids'
import type { Concern } from '@berth/platform/revocations'
import { resolveActor } from '@berth/schema/commands/policy'
import { createDependents, type Dependence, dependenceOf } from './dependents.ts'
import { CredentialRefused } from './issuer.ts'

export type Identity = {
  readonly issuer: string
  readonly subject: string
  /** The organization asked for; null for the person's first one. */
  readonly organizationId: Id<'org'> | null
}

export type Actors = {
  /**
   * Who a verified identity is here, at most 5 s ago; without a promise where that is known.
   *
   * @throws {CredentialRefused} when nobody is known by it
   * @throws {DomainError} FORBIDDEN when they do not belong to the organization asked for,
   * UNAVAILABLE when policy cannot be asked
   */
  of(identity: Identity): Actor | Promise<Actor>
  /** Whoever is concerned is asked for anew; what is on its way was asked before, and is not kept. */
  evict(concern: Concern): void
}

const MAX_AGE_MS = 5_000
const CACHED_ACTORS = 10_000

type Entry = { key: string; actor: Actor; askedAt: number; on: Dependence }

/** Asks policy, once at a time for each identity. */
export function createActors({
  commands,
  clock = systemClock,
}: {
  commands: Pick<CommandClient, 'call'>
  clock?: Clock
}): Actors {
  // In the order of their age, which is that of their insertion.
  const entries = new Map<string, Entry>()
  const dependents = createDependents<Entry>()
  const asking = new Map<string, Promise<Actor>>()

  return {
    of(identity) {
      const key = keyOf(identity)
      const known = entries.get(key)
      if (known && clock.now().getTime() - known.askedAt < MAX_AGE_MS) return known.actor
      return asking.get(key) ?? askFor(key, identity)
    },
    evict(concern) {
      if (concern.kind === 'policy') return
      for (const entry of dependents.of(concern)) forget(entry)
      // Whom these are about is not known yet: none of them is joined or kept.
      asking.clear()
    },
  }

  function askFor(key: string, identity: Identity): Promise<Actor> {
    // As of the question, not of the answer, which may tell of any moment between.
    const askedAt = clock.now().getTime()
    const asked = ask(identity)
      .then((actor) => {
        if (asking.get(key) === asked) keep({ key, actor, askedAt, on: dependenceOf(actor, null) })
        return actor
      })
      .finally(() => {
        if (asking.get(key) === asked) asking.delete(key)
      })
    asking.set(key, asked)
    return asked
  }

  function keep(entry: Entry): void {
    const old = entries.get(entry.key)
    if (old) forget(old)
    entries.set(entry.key, entry)
    dependents.add(entry, entry.on)
    if (entries.size <= CACHED_ACTORS) return
    const oldest = entries.values().next().value
    if (oldest) forget(oldest)
  }

  function forget(entry: Entry): void {
    entries.delete(entry.key)
    dependents.delete(entry, entry.on)
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

/** Neither an organization's id nor an issuer's URL has a blank in it. */
function keyOf({ issuer, subject, organizationId }: Identity): string {
  return `${organizationId ?? ''} ${issuer} ${subject}`
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
