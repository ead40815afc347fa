import type { Clock } from '@berth/platform/clock'
import type { SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { resolveApiKey } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { apiKeyState } from '../domain/api-key.ts'
import { findPresented, type KeptApiKey, noteUse } from '../store/api-keys.ts'
import type { Secrets } from './secrets.ts'

/** Answers `apiKeys.resolve`. @throws {DomainError} NOT_FOUND with the reason, which is for the log */
export type PresentApiKey = (
  input: z.output<typeof resolveApiKey.input>,
) => Promise<z.output<typeof resolveApiKey.output>>

const USE_MS = 60_000

/** Whose a key is that somebody presents. It is what its maker is now, within its scopes. */
export function createPresentApiKey({
  database: { sql },
  secrets,
  clock,
  log,
}: {
  database: Pick<SqlDatabase, 'sql'>
  secrets: Secrets
  clock: Clock
  log: Log
}): PresentApiKey {
  return async ({ keyId, secretHash }) => {
    const key = await findPresented(sql, keyId)
    if (!key) throw refused('there is no such API key')
    const now = clock.now()
    const endsAt = await endOf(key, Buffer.from(secretHash, 'base64url'))
    if (!endsAt) throw refused('the secret is not the API key’s')
    const state = apiKeyState(key, now)
    if (state !== 'ACTIVE') throw refused(`the API key is ${state}`)
    if (endsAt <= now) throw refused('the API key was rotated, and the overlap is over')
    await use(key, now)
    const { organizationId, makerRole, scopes, allowedCidrs } = key
    return {
      organizationId,
      roles: makerRole ? [makerRole.toLowerCase()] : [],
      scopes: [...scopes],
      allowedCidrs: allowedCidrs && [...allowedCidrs],
      expiresAt: endsAt.toISOString(),
    }
  }

  /** Until when the presented secret is good; null when it is none of the key's. */
  async function endOf(key: KeptApiKey, digest: Uint8Array): Promise<Date | null> {
    const { id, current, previous, previousEndsAt, expiresAt } = key
    if (await secrets.matches(id, digest, current)) return expiresAt
    if (!previous || !previousEndsAt || !(await secrets.matches(id, digest, previous))) return null
    return new Date(Math.min(previousEndsAt.getTime(), expiresAt.getTime()))
  }

  /** That it was used is not worth a refusal. */
  async function use({ id, lastUsedAt }: KeptApiKey, now: Date): Promise<void> {
    if (lastUsedAt && now.getTime() - lastUsedAt.getTime() < USE_MS) return
    await noteUse(sql, id, now).catch((error: unknown) => {
      log.warn({ err: error, id }, 'the use of an API key was not noted')
    })
  }
}

function refused(reason: string): DomainError {
  return new DomainError('NOT_FOUND', reason)
}
