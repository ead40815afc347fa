import { type Actor, createActor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { type Id, newId } from '@berth/platform/ids'
import type { Concern } from '@berth/platform/revocations'
import { resolveActor } from '@berth/schema/commands/policy'
import { createAnswers } from './answers.ts'
import { dependenceOf, UNSIGNED } from './dependents.ts'
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
   * @throws {CredentialRefused} when nobody is known by it, or they are suspended
   * @throws {DomainError} FORBIDDEN when they do not belong to the organization asked for
   * or it is suspended, UNAVAILABLE when policy cannot be asked
   */
  of(identity: Identity): Actor | Promise<Actor>
  /** Whoever is concerned is asked for anew; what is on its way was asked before, and is not kept. */
  evict(concern: Concern): void
}

/** Asks policy, once at a time for each identity. */
export function createActors({
  commands,
  clock = systemClock,
}: {
  commands: Pick<CommandClient, 'call'>
  clock?: Clock
}): Actors {
  const answers = createAnswers<Actor>({
    dependenceOf: (actor) => dependenceOf(actor, UNSIGNED),
    clock,
  })
  return {
    of(identity) {
      const key = keyOf(identity)
      return answers.known(key) ?? answers.ask(key, () => ask(identity))
    },
    evict: answers.evict,
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
      return new CredentialRefused(error.message)
    case 'FORBIDDEN':
      return new DomainError(
        'FORBIDDEN',
        error.extensions.suspended === true
          ? 'This organization is suspended: contact support'
          : 'You do not belong to this organization',
      )
    default:
      return unanswered(error, 'actors.resolve')
  }
}

/** That policy does not answer is no verdict; what it says of the gateway's own call is for nobody else. */
export function unanswered(error: DomainError, command: string): Error {
  switch (error.code) {
    case 'UPSTREAM_UNAVAILABLE':
    case 'UNAVAILABLE':
    case 'TIMEOUT':
      return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
        cause: error,
        retryAfterSeconds: 2,
      })
    default:
      return new Error(`${command} failed`, { cause: error })
  }
}
