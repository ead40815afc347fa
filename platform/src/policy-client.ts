import type { z } from 'zod'
import type { Actor } from './actor.ts'
import { type Clock, systemClock } from './clock.ts'
import type { CallOptions } from './commands.ts'
import { DomainError } from './errors.ts'
import { newUuid } from './ids.ts'
import type { Log } from './log.ts'
import { createLru } from './lru.ts'
import { ROLES_POLICY, RolesPolicy } from './policy-roles.ts'
import { type Hints, policyInvalidateChannel } from './pubsub.ts'

/** Whose policies: an organization's over the platform's, or the platform's alone. */
export type PolicyScope = { organizationId?: string | null }

export type PolicyClient = {
  /**
   * Whether the policies grant the actor this action, such as `allocation:create`. An API key is
   * granted what its roles grant, within its scopes.
   *
   * @throws {DomainError} UNAVAILABLE when policy cannot be asked and nothing recent is known: that
   *   is no grant, and no refusal that a client would take for final
   */
  can(actor: Actor, action: string): Promise<boolean>
  /**
   * The value of a policy as it holds in the scope; undefined when it has none.
   *
   * @throws {DomainError} UNAVAILABLE when policy cannot be asked and nothing recent is known
   */
  value(key: string, scope?: PolicyScope): Promise<unknown>
}

/**
 * Asks for the values of policies as they hold in an organization, or on the platform when none is
 * named: a command of policy's, or in policy itself what answers it. A key without a value is left
 * out of the answer.
 */
export type PolicyRead = (
  input: { keys: string[]; organizationId?: string },
  options: CallOptions,
) => Promise<{ values: readonly { key: string; value: unknown }[] }>

type Entry = { value: unknown; readAt: number; evictions: number; misses: number }

const STALE_SECONDS = 300
const CACHED_VALUES = 10_000
const READ_TIMEOUT_MS = 1_000
const RETRY_SECONDS = 1

/**
 * Policies, cached. A change evicts at once; a lost message is healed when the value is
 * `maxAgeSeconds` old and read again. While policy is out of reach, what was not evicted serves on
 * for five minutes.
 */
export function createPolicyClient({
  read,
  hints,
  log,
  clock = systemClock,
  maxAgeSeconds = 2,
}: {
  read: PolicyRead
  hints: Pick<Hints, 'subscribe'>
  log: Log
  clock?: Clock
  maxAgeSeconds?: number
}): PolicyClient & Disposable {
  const cache = createLru<string, Entry>(CACHED_VALUES)
  const reads = new Map<string, Promise<unknown>>()
  // Counted per policy: what was read before an eviction must not be taken for current after it.
  const evictions = new Map<string, number>()
  let misses = 0
  let retryAt = 0
  const channel = policyInvalidateChannel('*')
  const prefix = channel.slice(0, -1)
  const end = hints.subscribe(channel, (_text, from) => {
    if (from === null) misses++
    else evict(from.slice(prefix.length))
  })
  return { can, value, [Symbol.dispose]: end }

  async function can(actor: Actor, action: string): Promise<boolean> {
    // No value could grant anything to who has no role: the anonymous are told to sign in also
    // while policy is away.
    if (actor.roles.length === 0) return false
    // The platform's, never an organization's: read and held once and not per tenant.
    const roles = RolesPolicy.safeParse((await value(ROLES_POLICY)) ?? {})
    if (roles.success) return isGranted(roles.data, actor, action)
    log.error({ err: roles.error, action }, `denied: ${ROLES_POLICY} is malformed`)
    return false
  }

  async function value(key: string, { organizationId }: PolicyScope = {}): Promise<unknown> {
    const slot = `${organizationId ?? ''} ${key}`
    const entry = cache.get(slot)
    const current = entry?.evictions === (evictions.get(key) ?? 0) ? entry : undefined
    const now = clock.now().getTime()
    const isFresh =
      current && current.misses === misses && now < current.readAt + maxAgeSeconds * 1000
    if (isFresh) return current.value
    try {
      if (now < retryAt) throw new DomainError('UNAVAILABLE', 'The policies cannot be read now')
      return await readOnce(slot, key, organizationId ?? null)
    } catch (error) {
      if (current && now < current.readAt + STALE_SECONDS * 1000) return current.value
      throw error
    }
  }

  /** Those who ask for the same at the same time share one read, but none that an eviction outran. */
  function readOnce(slot: string, key: string, organizationId: string | null): Promise<unknown> {
    const since = evictions.get(key) ?? 0
    const flight = `${since} ${misses} ${slot}`
    const running = reads.get(flight)
    if (running) return running
    const started = readInto(slot, key, organizationId, since, misses).finally(() =>
      reads.delete(flight),
    )
    reads.set(flight, started)
    return started
  }

  async function readInto(
    slot: string,
    key: string,
    organizationId: string | null,
    since: number,
    missesBefore: number,
  ): Promise<unknown> {
    const readAt = clock.now().getTime()
    try {
      const { values } = await read(
        { keys: [key], ...(organizationId ? { organizationId } : {}) },
        { commandId: newUuid(), timeoutMs: READ_TIMEOUT_MS },
      )
      const found = values.find((it) => it.key === key)?.value
      cache.set(slot, { value: found, readAt, evictions: since, misses: missesBefore })
      return found
    } catch (cause) {
      retryAt = clock.now().getTime() + RETRY_SECONDS * 1000
      log.warn({ err: cause, policy: key }, 'a policy could not be read')
      throw new DomainError('UNAVAILABLE', 'The policies cannot be read now', { cause })
    }
  }

  function evict(key: string): void {
    evictions.set(key, (evictions.get(key) ?? 0) + 1)
  }
}

function isGranted(granted: z.output<typeof RolesPolicy>, actor: Actor, action: string): boolean {
  const byRole = actor.roles.some((role) =>
    (Object.hasOwn(granted, role) ? (granted[role] ?? []) : []).some((it) => covers(it, action)),
  )
  return byRole && (actor.kind !== 'api-key' || actor.scopes.some((it) => covers(it, action)))
}

/** `*` covers every action, `allocation:*` those on allocations, any other pattern itself. */
function covers(pattern: string, action: string): boolean {
  if (pattern === '*' || pattern === action) return true
  return pattern.endsWith(':*') && action.startsWith(pattern.slice(0, -1))
}
