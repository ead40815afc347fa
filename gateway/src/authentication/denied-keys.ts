import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { readDeniedSigningKeys } from '@berth/schema/commands/policy'
import { unanswered } from './actors.ts'
import { CredentialRefused } from './issuer.ts'

/** The keys of the issuer that are not trusted any more, as policy lists them. */
export type DeniedKeys = {
  /**
   * Without a promise where the list is known to be current.
   *
   * @param ids what a key is known by
   * @throws {CredentialRefused} when it is denied
   * @throws {DomainError} UNAVAILABLE when that cannot be known now
   */
  check(ids: readonly string[]): void | Promise<void>
  /** What it concerns is not judged by the list of before. */
  evict(concern: Concern): void
}

/** After a failure, so that not each token asks. */
const RETRY_MS = 1_000

/**
 * Holds the list, and reads it again when a change is told. What is being read when a change is told
 * may be of before it, and is read once more. While policy is away what was known holds, but for the
 * keys that a change was told of.
 */
export function createDeniedKeys({
  commands,
  log,
  metrics,
}: {
  commands: Pick<CommandClient, 'call'>
  log: Log
  metrics: Metrics
}): DeniedKeys {
  let denied: ReadonlySet<string> | undefined
  /** Told of since the list was read; null: all may have changed. */
  let doubted: Set<string> | null = new Set()
  let told = 0
  let reading: Promise<void> | undefined
  let failedAt = Number.NEGATIVE_INFINITY
  metrics.gauge('berth_denied_signing_keys', 'Keys that are denied; -1 while unknown', [], () =>
    denied && doubted ? denied.size : -1,
  )

  return {
    check(ids) {
      if (isDoubtful(ids)) return checkAnew(ids)
      refuse(ids)
    },
    evict({ kind, id }) {
      if (kind === 'everyone') doubted = null
      else if (kind === 'signing-key') doubted?.add(id)
      else return
      told++
      failedAt = Number.NEGATIVE_INFINITY
      void read()
    },
  }

  function isDoubtful(ids: readonly string[]): boolean {
    return !denied || !doubted || (doubted.size > 0 && ids.some((id) => doubted?.has(id)))
  }

  function refuse(ids: readonly string[]): void {
    if (ids.some((id) => denied?.has(id))) throw new CredentialRefused('signed by a denied key')
  }

  async function checkAnew(ids: readonly string[]): Promise<void> {
    await read()
    if (isDoubtful(ids)) {
      throw new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
        retryAfterSeconds: 2,
      })
    }
    refuse(ids)
  }

  /** Never rejects: whoever needs the list sees that it is not there. */
  function read(): Promise<void> {
    if (performance.now() - failedAt < RETRY_MS) return Promise.resolve()
    reading ??= readUntilCurrent().finally(() => {
      reading = undefined
    })
    return reading
  }

  async function readUntilCurrent(): Promise<void> {
    let asOf: number
    do {
      asOf = told
      try {
        const { keyIds } = await commands.call(readDeniedSigningKeys, {}, { commandId: newUuid() })
        if (asOf !== told) continue
        denied = new Set(keyIds)
        doubted = new Set()
      } catch (error) {
        failedAt = performance.now()
        const err = error instanceof DomainError ? unanswered(error, 'signingKeys.denied') : error
        log.warn({ err }, 'the denied signing keys cannot be read')
        return
      }
    } while (asOf !== told)
  }
}
