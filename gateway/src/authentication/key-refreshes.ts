import { setTimeout as delay } from 'node:timers/promises'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import { createLru } from '@berth/platform/lru'
import type { Concern } from '@berth/platform/revocations'
import { refreshOfConcern, refreshSigningKeys } from '@berth/schema/commands/policy'
import type { IssuerKeys } from './issuer-keys.ts'
import type { Replicas } from './replicas.ts'

export type KeyRefresh = {
  readonly refreshId: string
  /** How many keys the issuer has. */
  readonly keys: number
  /** How many gateways have fetched them since, and of how many; null where that is not known. */
  readonly replicas: { readonly confirmed: number; readonly known: number | null }
}

/** Fetches of the issuer's keys at every gateway at once. */
export type KeyRefreshes = {
  /**
   * Fetches them here, by a request that begins after this call, and tells all other gateways to.
   *
   * @throws {DomainError} UPSTREAM_UNAVAILABLE when the issuer gives none, UNAVAILABLE when the others
   * could not be told: either says what has been done
   */
  run(by: { reason: string | null; requestId: string }): Promise<KeyRefresh>
  /** Somebody else's, told by the feed. */
  hear(concern: Concern): void
}

/** A message that was lost is read within a second; a fetch takes three at most. */
const DEADLINE_MS = 5_000
const PAUSE_MS = 50

export function createKeyRefreshes({
  keys,
  replicas,
  commands,
  log,
}: {
  keys: Pick<IssuerKeys, 'refresh' | 'distrust'>
  replicas: Replicas
  commands: Pick<CommandClient, 'call'>
  log: Log
}): KeyRefreshes {
  // A concern may be told twice.
  const begun = createLru<string, true>(100)

  return {
    async run({ reason, requestId }) {
      const refreshId = newUuid()
      const untilMs = performance.now() + DEADLINE_MS
      begun.set(refreshId, true)
      const [fetched, told] = await Promise.allSettled([
        keys.refresh(),
        commands.call(
          refreshSigningKeys,
          { refreshId, reason },
          { commandId: refreshId, requestId, timeoutMs: DEADLINE_MS },
        ),
      ])
      if (fetched.status === 'rejected' || told.status === 'rejected') throw failure(fetched, told)
      await replicas.confirm(refreshId)
      return { refreshId, keys: fetched.value, replicas: await confirmed(refreshId, untilMs) }
    },
    hear({ kind, id }) {
      if (kind === 'everyone') keys.distrust()
      const refreshId = kind === 'signing-key' ? refreshOfConcern(id) : null
      if (refreshId === null || begun.get(refreshId)) return
      begun.set(refreshId, true)
      keys.refresh().then(
        () => replicas.confirm(refreshId),
        (error: unknown) => log.warn({ err: error, refreshId }, 'told to fetch keys, in vain'),
      )
    },
  }

  async function confirmed(refreshId: string, untilMs: number): Promise<KeyRefresh['replicas']> {
    for (;;) {
      const state = await replicas.confirmed(refreshId)
      // Without Redis nobody can confirm; they are told all the same.
      if (state === null) return { confirmed: 1, known: null }
      if (state.confirmed >= state.known || performance.now() >= untilMs) return state
      await delay(PAUSE_MS)
    }
  }
}

function failure(
  fetched: PromiseSettledResult<unknown>,
  told: PromiseSettledResult<unknown>,
): DomainError {
  if (told.status === 'fulfilled') {
    return new DomainError(
      'UPSTREAM_UNAVAILABLE',
      'The issuer gives no keys, so the last ones stay. The other gateways were told: repeat this',
      { cause: reasonOf(fetched) },
    )
  }
  const done =
    fetched.status === 'fulfilled' ? 'This gateway has fetched the keys' : 'No keys were fetched'
  return new DomainError('UNAVAILABLE', `${done}; the others could not be told: repeat this`, {
    cause: told.reason,
    retryAfterSeconds: 2,
  })
}

function reasonOf(result: PromiseSettledResult<unknown>): unknown {
  return result.status === 'rejected' ? (result.reason as unknown) : undefined
}
