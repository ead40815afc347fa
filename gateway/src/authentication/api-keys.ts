import { hash } from 'node:crypto'
import { BlockList, isIP, isIPv4 } from 'node:net'
import { type Actor, type ActorFields, createActor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { type Id, newId } from '@berth/platform/ids'
import { createLru } from '@berth/platform/lru'
import type { Concern } from '@berth/platform/revocations'
import {
  API_KEY_PREFIX,
  type ApiKeyEnvironment,
  type ApiKeyParts,
  parseApiKey,
} from '@berth/schema/api-key'
import { resolveApiKey } from '@berth/schema/commands/policy'
import { unanswered } from './actors.ts'
import { createAnswers } from './answers.ts'
import type { CredentialResolver } from './authenticate.ts'
import { bearerOf } from './bearer.ts'
import { dependenceOf, UNSIGNED } from './dependents.ts'
import { CredentialRefused } from './issuer.ts'
import { isEqual } from './presenter.ts'

/** An API key that was good when policy was asked, at most 5 s ago. */
export type PresentedApiKey = {
  readonly actor: Actor
  readonly expiresAt: Date
  /** Whether it may be presented from this address. */
  readonly isAllowedFrom: (address: string) => boolean
}

export type ApiKeys = {
  /**
   * Whose a key is; without a promise where that is known. A mistyped one asks nobody.
   *
   * @throws {CredentialRefused} when it is not good, at once and not by a promise where it is no key
   * @throws {DomainError} UNAVAILABLE when policy cannot be asked
   */
  of(text: string): PresentedApiKey | Promise<PresentedApiKey>
  evict(concern: Concern): void
}

/** Asks policy, once at a time for each key. */
export function createApiKeys({
  commands,
  environment,
  clock = systemClock,
}: {
  commands: Pick<CommandClient, 'call'>
  /** That of this installation: keys of another one are none here. */
  environment: ApiKeyEnvironment
  clock?: Clock
}): ApiKeys {
  const answers = createAnswers<PresentedApiKey>({
    dependenceOf: ({ actor }) => dependenceOf(actor, UNSIGNED),
    clock,
  })
  // The same object for the same key, so that what is kept by it is found.
  const actors = createLru<string, Actor>(10_000)
  return {
    of(text) {
      // By its hash: the heap is no place to find keys in.
      const key = hash('sha256', text, 'base64')
      const known = answers.known(key)
      if (known) return known
      const parts = parseApiKey(text)
      if (!parts) throw new CredentialRefused('mistyped, or no API key at all')
      if (parts.environment !== environment) {
        throw new CredentialRefused(`an API key of a ${parts.environment} installation`)
      }
      return answers.ask(key, () => ask(parts))
    },
    evict: answers.evict,
  }

  async function ask({ id, secret }: ApiKeyParts): Promise<PresentedApiKey> {
    const { organizationId, roles, scopes, allowedCidrs, expiresAt } = await commands
      .call(
        resolveApiKey,
        { keyId: id, secretHash: hash('sha256', secret, 'base64url') },
        { commandId: newId('cmd') },
      )
      .catch((error: unknown) => {
        throw translated(error)
      })
    return {
      actor: actorOf({
        kind: 'api-key',
        organizationId: organizationId as Id<'org'>,
        roles,
        scopes,
        credential: id,
      }),
      expiresAt: new Date(expiresAt),
      isAllowedFrom: allowedCidrs === null ? anywhere : within(allowedCidrs),
    }
  }

  function actorOf(fields: ActorFields & { credential: string }): Actor {
    const actor = createActor(fields)
    const known = actors.get(fields.credential)
    if (known && isEqual(known, actor)) return known
    actors.set(fields.credential, actor)
    return actor
  }
}

/**
 * `Authorization: Bearer berth_…`, in the same place as a token, so that every face and every client
 * takes both. No token begins so: one begins with the base64 of a brace.
 */
export function apiKey({
  apiKeys,
  clock = systemClock,
}: {
  apiKeys: Pick<ApiKeys, 'of'>
  clock?: Clock
}): CredentialResolver {
  return async ({ authorization, organizationId, clientIp }) => {
    const text = bearerOf(authorization)
    if (!text?.startsWith(API_KEY_PREFIX)) return null
    const found = apiKeys.of(text)
    const { actor, expiresAt, isAllowedFrom } = found instanceof Promise ? await found : found
    if (expiresAt <= clock.now()) throw new CredentialRefused('an API key that has expired')
    if (!isAllowedFrom(clientIp)) {
      throw new CredentialRefused(`an API key from an address that is not allowed: ${clientIp}`)
    }
    if (organizationId !== undefined && organizationId !== actor.organizationId) {
      throw new DomainError(
        'FORBIDDEN',
        'This API key is of another organization: leave the header berth-organization out',
      )
    }
    return { actor, expiresAt, signingKeys: UNSIGNED }
  }
}

function anywhere(): boolean {
  return true
}

function within(cidrs: readonly string[]): (address: string) => boolean {
  // A list per family: one for both would match IPv4 by `::/0`, which covers IPv4 in IPv6.
  const ranges = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const cidr of cidrs) {
    const [address = '', prefix] = cidr.split('/')
    const family = familyOf(address)
    ranges[family].addSubnet(address, Number(prefix), family)
  }
  return (presentedFrom) => {
    // A socket that listens for both families has IPv4 clients so.
    const address = presentedFrom.replace(/^::ffff:(?=[\d.]+$)/i, '').replace(/%.*$/, '')
    const family = familyOf(address)
    return isIP(address) !== 0 && ranges[family].check(address, family)
  }
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6'
}

function translated(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  if (error.code === 'NOT_FOUND') return new CredentialRefused(error.message)
  return unanswered(error, 'apiKeys.resolve')
}
