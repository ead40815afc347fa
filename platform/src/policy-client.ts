import { covers } from './action-pattern.ts'
import type { Actor, ActorKind } from './actor.ts'
import { type Clock, systemClock } from './clock.ts'
import type { CallOptions } from './commands.ts'
import type { Id } from './ids.ts'
import { newUuid } from './ids.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { createPolicyAsk } from './policy-ask.ts'
import { createPolicyCache, SURE_MS } from './policy-cache.ts'
import { staleSecondsOf, VALUE_STALE_SECONDS } from './policy-classes.ts'
import { createPolicyEvictions } from './policy-evictions.ts'
import { policyConcern } from './pubsub.ts'
import type { Revocations } from './revocations.ts'

/** Whose policies: a person's in an organization, an organization's, or the platform's alone. */
export type PolicyScope = { organizationId?: string | null; userId?: string | null }

/** What a single case is like, by the names that its action declares. */
export type Facts = Readonly<Record<string, string | number | boolean>>

export type PolicyClient = {
  /**
   * Whether the policies grant the actor this action, such as `allocation:create`; at once when it
   * is known of those like them. An API key is granted what its roles grant, within its scopes. An
   * action that depends on facts passes: whoever has them asks `decide`.
   *
   * @throws {DomainError} UNAVAILABLE, as a rejection, when policy cannot be asked and nothing
   *   recent is known: that is no grant, and no refusal that a client would take for final
   */
  can(actor: Actor, action: string): boolean | Promise<boolean>
  /** The same, for a case of which these facts hold. */
  decide(actor: Actor, action: string, facts: Facts): boolean | Promise<boolean>
  /**
   * The value of a policy as it holds in the scope, at once when it is known, else a promise of it;
   * undefined when it has none.
   *
   * @throws {DomainError} UNAVAILABLE, as a rejection, when policy cannot be asked and nothing
   *   recent is known
   */
  value(key: string, scope?: PolicyScope): unknown
  /**
   * What is known of this policy is asked for again before it is used: everywhere, or in this
   * organization. Those under `authz.` decide of grants.
   */
  invalidate(key: string, organizationId?: string): void
  invalidateAll(): void
}

/** Whom a decision is about: nobody in particular, so that it holds for all like them. */
export type PolicyAuthority = {
  kind: ActorKind
  organizationId: Id<'org'> | null
  roles: string[]
}

/** Policy itself: its commands, or within policy what answers them, from what is committed. */
export type PolicySource = {
  /** A key without a value is left out. */
  values(
    input: { keys: string[]; organizationId?: string; userId?: string },
    options: CallOptions,
  ): Promise<{ values: readonly { key: string; value: unknown }[] }>
  /** All that is granted, and what depends on facts. */
  grants(
    authority: PolicyAuthority,
    options: CallOptions,
  ): Promise<{ granted: readonly string[]; dependent: readonly string[] }>
  decide(
    input: PolicyAuthority & {
      action: string
      facts: { name: string; value: string | number | boolean }[]
    },
    options: CallOptions,
  ): Promise<{ isGranted: boolean }>
}

type Grants = { granted: ReadonlySet<string>; dependent: ReadonlySet<string> }

const CACHED_AUTHORITIES = 10_000
const CACHED_VALUES = 10_000
/** What all grants depend on: `authz.` and any name. */
const AUTHZ = 'authz'
/** A policy's key and the organization, as `policyConcern` joins them. */
const IN_ORGANIZATION = /^(.+)\.(org_[0-9a-z]{26})$/

/**
 * Policies, kept for a minute at most while the feed of changes says that they hold. A change evicts
 * at once; a lost message is healed by the feed's poll, or after 3 s when there is no feed either.
 */
export function createPolicyClient({
  source,
  revocations,
  log,
  metrics,
  clock = systemClock,
}: {
  source: PolicySource
  revocations: Pick<Revocations, 'subscribe' | 'completeAt'>
  log: Log
  metrics: Metrics
  clock?: Clock
}): PolicyClient & Disposable {
  const invalidations = metrics.counter(
    'berth_policy_invalidations_total',
    'Evictions of what is known of policy, by a key or of all of it',
  )
  const evictions = createPolicyEvictions()
  const completeAt = () => revocations.completeAt
  const isHeard = () => clock.now().getTime() < completeAt() + SURE_MS
  const ask = createPolicyAsk({ isHeard, clock, log })
  const caching = { evictions, completeAt, ask, metrics, clock }
  const grants = createPolicyCache<Grants>({ ...caching, of: 'grants', max: CACHED_AUTHORITIES })
  const values = createPolicyCache<unknown>({ ...caching, of: 'values', max: CACHED_VALUES })
  metrics.gauge(
    'berth_policy_age_seconds',
    'Since the oldest that is kept of policy was last known to hold',
    [],
    () => {
      const now = clock.now().getTime()
      return (now - Math.min(grants.oldest() ?? now, values.oldest() ?? now)) / 1_000
    },
  )
  // Verified assertions give the same actor again and again.
  const slots = new WeakMap<Actor, string>()

  const end = revocations.subscribe(({ kind, id }) => {
    if (kind === 'everyone') invalidateAll()
    else if (kind !== 'policy') return
    // Messages may have been lost: the feed finds out which, and tells them.
    else if (id === '*') evictions.doubtAll()
    else {
      const [, key = id, organizationId] = IN_ORGANIZATION.exec(id) ?? []
      invalidate(key, organizationId)
    }
  })
  return { can, decide, value, invalidate, invalidateAll, [Symbol.dispose]: end }

  function can(actor: Actor, action: string): boolean | Promise<boolean> {
    if (!isInScope(actor, action)) return false
    const known = grants.known(slotOf(actor))
    if (known) return isGranted(known.value, action)
    return grantsOf(actor, action).then((it) => it !== null && isGranted(it, action))
  }

  function decide(actor: Actor, action: string, facts: Facts): boolean | Promise<boolean> {
    if (!isInScope(actor, action)) return false
    const known = grants.known(slotOf(actor))
    if (known && !known.value.dependent.has(action)) return known.value.granted.has(action)
    return decideLater(actor, action, facts)
  }

  async function decideLater(actor: Actor, action: string, facts: Facts): Promise<boolean> {
    const known = await grantsOf(actor, action)
    if (!known?.dependent.has(action)) return known?.granted.has(action) ?? false
    const listed = Object.entries(facts).map(([name, it]) => ({ name, value: it }))
    const { isGranted } = await ask((timeoutMs) =>
      source.decide({ ...authorityOf(actor), action, facts: listed }, callOptions(timeoutMs)),
    )
    return isGranted
  }

  /** @returns null for the anonymous while nothing is known: they are told to sign in */
  async function grantsOf(actor: Actor, action: string): Promise<Grants | null> {
    try {
      return await grants.read({
        slot: slotOf(actor),
        keys: keysOf(AUTHZ, actor.organizationId),
        staleSeconds: staleSecondsOf(action),
        async from(timeoutMs) {
          const read = await source.grants(authorityOf(actor), callOptions(timeoutMs))
          return { granted: new Set(read.granted), dependent: new Set(read.dependent) }
        },
      })
    } catch (error) {
      if (actor.kind === 'anonymous') return null
      throw error
    }
  }

  function value(key: string, { organizationId, userId }: PolicyScope = {}): unknown {
    const slot = `${organizationId ?? ''} ${userId ?? ''} ${key}`
    const known = values.known(slot)
    if (known) return known.value
    const input = {
      keys: [key],
      ...(organizationId ? { organizationId } : {}),
      ...(userId ? { userId } : {}),
    }
    return values.read({
      slot,
      keys: keysOf(key, organizationId),
      staleSeconds: VALUE_STALE_SECONDS,
      async from(timeoutMs) {
        const read = await source.values(input, callOptions(timeoutMs))
        return read.values.find((it) => it.key === key)?.value
      },
    })
  }

  function invalidate(key: string, organizationId?: string): void {
    invalidations.inc()
    evictions.evict(policyConcern(key, organizationId))
    if (key.startsWith(`${AUTHZ}.`)) evictions.evict(policyConcern(AUTHZ, organizationId))
  }

  function invalidateAll(): void {
    invalidations.inc()
    evictions.evictAll()
  }

  function slotOf(actor: Actor): string {
    const known = slots.get(actor)
    if (known) return known
    const slot = JSON.stringify(authorityOf(actor))
    slots.set(actor, slot)
    return slot
  }
}

/** A change for all, and one in the organization, are changes of what holds there. */
function keysOf(key: string, organizationId: string | null | undefined): string[] {
  return organizationId ? [key, policyConcern(key, organizationId)] : [key]
}

function authorityOf({ kind, organizationId, roles }: Actor): PolicyAuthority {
  return { kind, organizationId, roles: [...roles] }
}

/** A key's scopes are its own, and no policy widens them. */
function isInScope({ kind, scopes }: Actor, action: string): boolean {
  return kind !== 'api-key' || scopes.some((it) => covers(it, action))
}

function isGranted({ granted, dependent }: Grants, action: string): boolean {
  return granted.has(action) || dependent.has(action)
}

function callOptions(timeoutMs: number): CallOptions {
  return { commandId: newUuid(), timeoutMs }
}
