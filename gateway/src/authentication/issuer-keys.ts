import type { Clock } from '@berth/platform/clock'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { errors, type JWTVerifyGetKey } from 'jose'
import type { FoundKey, KeySet } from './key-set.ts'
import { type KeySource, KeysMalformed } from './key-source.ts'

/** The keys of an issuer, as they were last had. */
export type IssuerKeys = {
  /**
   * The key that a token is to be verified by.
   *
   * @throws {errors.JOSEError} when the issuer has none for it
   * @throws {DomainError} UNAVAILABLE when that cannot be known now
   */
  find(...token: Parameters<JWTVerifyGetKey>): Promise<FoundKey>
  /**
   * Fetches them by a request that begins after this call, whatever is on its way already.
   *
   * @returns how many there are
   * @throws {DomainError} UPSTREAM_UNAVAILABLE when the issuer gives none: the last ones stay
   */
  refresh(): Promise<number>
  /** They are fetched before they are next relied upon, if they can be. */
  distrust(): void
  /** Resolves once they have been had at least once. */
  ready(): Promise<void>
  /**
   * Tells the thumbprint of each key that the issuer has withdrawn.
   *
   * @returns what ends it
   */
  onWithdrawn(listener: (thumbprint: string) => void): () => void
}

/** So long they are good without a question. */
const FRESH_MS = 10 * 60_000
/** At most one fetch in this time, for keys that nobody knows: whoever writes a token names what they like. */
const COOLDOWN_MS = 30_000
/** Between fetches that fail. */
const RETRY_MS = { withKeys: 5_000, withoutKeys: 1_000 }
const DEFAULT_STALE_SECONDS = 3_600

/**
 * Keeps the keys that were had last. While the issuer gives no others, those stay good for the stale
 * window; after it nobody's token can be judged.
 *
 * @param staleSeconds how long after they were due for a fetch
 */
export function createIssuerKeys({
  source,
  staleSeconds = DEFAULT_STALE_SECONDS,
  clock,
  log,
  metrics,
}: {
  source: KeySource
  staleSeconds?: number | undefined
  clock: Clock
  log: Log
  metrics: Metrics
}): IssuerKeys {
  const fetches = metrics.counter(
    'berth_issuer_key_fetches_total',
    'Fetches of the issuer’s keys, by outcome',
    ['outcome'],
  )
  const staleUses = metrics.counter(
    'berth_issuer_keys_stale_total',
    'Tokens judged by keys that were due for a fetch',
  )
  metrics.gauge(
    'berth_issuer_keys_age_seconds',
    'Since the issuer’s keys were fetched; -1 without any',
    [],
    () => (known ? (now() - known.fetchedAt) / 1_000 : -1),
  )
  const listeners = new Set<(thumbprint: string) => void>()
  const now = () => clock.now().getTime()
  let known: { readonly set: KeySet; readonly fetchedAt: number } | undefined
  let pending: Promise<void> | undefined
  let begun = 0
  let applied = 0
  let triedAt = Number.NEGATIVE_INFINITY
  let isFailing = false
  /** Of the fetches that had begun by then none is believed to be recent. */
  let distrusted = Number.NEGATIVE_INFINITY

  return {
    async find(...token) {
      const set = await trusted()
      try {
        return await set.find(...token)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        if (pending || now() - triedAt >= COOLDOWN_MS) await settled(pending ?? fetchAnew())
        // What the issuer would say of this key is not known.
        if (isFailing) throw unavailable()
        return (known?.set ?? set).find(...token)
      }
    },
    async refresh() {
      try {
        await fetchAnew({ isRediscovered: true })
      } catch (cause) {
        distrusted = begun
        throw new DomainError('UPSTREAM_UNAVAILABLE', 'The issuer gives no keys: try again', {
          cause,
        })
      }
      return known?.set.keys.length ?? 0
    },
    distrust() {
      distrusted = begun
      if (!isFailing) triedAt = Number.NEGATIVE_INFINITY
    },
    async ready() {
      if (!known) await (pending ?? fetchAnew())
    },
    onWithdrawn(listener) {
      const own = (thumbprint: string) => listener(thumbprint)
      listeners.add(own)
      return () => void listeners.delete(own)
    },
  }

  /** @throws {DomainError} UNAVAILABLE without keys that may be relied upon */
  async function trusted(): Promise<KeySet> {
    if (!known) {
      if (!pending && isFailing && now() - triedAt < RETRY_MS.withoutKeys) throw unavailable()
      await settled(pending ?? fetchAnew())
    } else if (isDue()) {
      // While the issuer is known to be away nobody waits for it.
      const isAway = isFailing
      if (!pending && now() - triedAt >= RETRY_MS.withKeys) fetchAnew().catch(() => undefined)
      if (pending && !isAway) await settled(pending)
    }
    if (!known || ageMs() >= FRESH_MS + staleSeconds * 1_000) throw unavailable()
    if (isDue()) staleUses.inc()
    return known.set
  }

  function isDue(): boolean {
    return applied <= distrusted || ageMs() >= FRESH_MS
  }

  function ageMs(): number {
    return known ? now() - known.fetchedAt : Number.POSITIVE_INFINITY
  }

  function fetchAnew(how?: { isRediscovered: boolean }): Promise<void> {
    const nth = ++begun
    triedAt = now()
    const beganAt = triedAt
    const fetching: Promise<void> = source
      .fetch(how)
      .then(
        (set) => {
          fetches.inc({ outcome: 'fetched' })
          // One that began later has the last word, whichever comes first.
          if (nth > applied) apply(set, nth, beganAt)
        },
        (error: unknown) => {
          fetches.inc({ outcome: error instanceof KeysMalformed ? 'malformed' : 'unreachable' })
          if (nth > applied) isFailing = true
          log.warn({ err: error }, 'the issuer’s keys cannot be had')
          throw error
        },
      )
      .finally(() => {
        if (pending === fetching) pending = undefined
      })
    pending = fetching
    return fetching
  }

  function apply(set: KeySet, nth: number, fetchedAt: number): void {
    const before = known?.set.keys ?? []
    applied = nth
    isFailing = false
    known = { set, fetchedAt }
    const present = new Set(set.keys.map(({ thumbprint }) => thumbprint))
    for (const { thumbprint } of before) {
      if (!present.has(thumbprint)) for (const listener of listeners) listener(thumbprint)
    }
  }
}

/** That it failed is counted and logged where it failed, and known by `isFailing`. */
function settled(fetching: Promise<void>): Promise<void> {
  return fetching.catch(() => undefined)
}

function unavailable(): DomainError {
  return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
    retryAfterSeconds: 2,
  })
}
