import { hash } from 'node:crypto'
import type { Actor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { Concern } from '@berth/platform/revocations'
import { createDependents, type Dependence } from './dependents.ts'
import type { Issuer } from './issuer.ts'
import { createPresenter } from './presenter.ts'

/** A bearer token that was found good. */
export type VerifiedToken = {
  readonly issuer: string
  readonly subject: string
  readonly expiresAt: Date
  /** Names this one token, so that it can be revoked: its `jti`, or a hash of what was signed. No secret. */
  readonly credential: string
  /** What the key that signed it is known by. */
  readonly signingKeys: readonly string[]
  /** Who presents it: the same object for the same person, so that what is kept by it is found. */
  presentedBy(person: Actor): Actor
}

export type Tokens = {
  /**
   * Without a promise where the token was verified a minute ago or less.
   *
   * @throws as `Issuer.verify`
   */
  verify(token: string): VerifiedToken | Promise<VerifiedToken>
  /** The tokens concerned are verified anew. */
  evict(concern: Concern): void
}

const MAX_AGE_MS = 60_000
const CACHED_TOKENS = 10_000

/** Whether a token is good does not depend on whose it is. */
const MATTERS = new Set<Concern['kind']>(['credential', 'signing-key', 'everyone'])

type Entry = { key: string; token: VerifiedToken; until: number; on: Dependence }

/** Verifies a token once and not for each request, since a signature costs 0.1–0.2 ms to check. */
export function createTokens({
  issuer,
  clock = systemClock,
}: {
  issuer: Pick<Issuer, 'verify'>
  clock?: Clock
}): Tokens {
  // By their hash: the heap is no place to find tokens in. Least recently verified first.
  const entries = new Map<string, Entry>()
  const dependents = createDependents<Entry>()
  // What was verified before an eviction is not kept after it.
  let evictions = 0

  return {
    verify(token) {
      const key = hash('sha256', token, 'base64')
      const known = entries.get(key)
      if (known && clock.now().getTime() < known.until) return known.token
      return verifyAnew(key, token)
    },
    evict(concern) {
      if (!MATTERS.has(concern.kind)) return
      evictions++
      for (const entry of dependents.of(concern)) forget(entry)
    },
  }

  async function verifyAnew(key: string, token: string): Promise<VerifiedToken> {
    const since = evictions
    const now = clock.now().getTime()
    const { iss, sub, exp, jti, signingKeys } = await issuer.verify(token)
    const verified = createVerified({
      issuer: iss,
      subject: sub,
      expiresAt: new Date(exp * 1000),
      credential: credentialOf(token, jti),
      signingKeys,
    })
    if (since === evictions) {
      const { credential } = verified
      const on = { person: null, organization: null, credential, signingKeys }
      keep({ key, token: verified, until: Math.min(exp * 1000, now + MAX_AGE_MS), on })
    }
    return verified
  }

  function keep(entry: Entry): void {
    const old = entries.get(entry.key)
    if (old) forget(old)
    entries.set(entry.key, entry)
    dependents.add(entry, entry.on)
    if (entries.size <= CACHED_TOKENS) return
    const oldest = entries.values().next().value
    if (oldest) forget(oldest)
  }

  function forget(entry: Entry): void {
    entries.delete(entry.key)
    dependents.delete(entry, entry.on)
  }
}

function createVerified(token: Omit<VerifiedToken, 'presentedBy'>): VerifiedToken {
  return { ...token, presentedBy: createPresenter(token.credential) }
}

/**
 * Of what was signed and not of the signature: of an ECDSA signature there is always another one
 * that is as good, under which a revoked token would come back.
 */
function credentialOf(token: string, jti: unknown): string {
  if (typeof jti === 'string' && /^[\w.:-]{1,100}$/.test(jti)) return `jwt:${jti}`
  const signed = token.slice(0, token.lastIndexOf('.'))
  return `jwt:${hash('sha256', signed, 'base64url').slice(0, 32)}`
}
