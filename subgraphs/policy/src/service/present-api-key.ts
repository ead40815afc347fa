import type { Clock } from '@berth/platform/clock'
import type { SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { resolveApiKey } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { apiKeyState } from '../domain/api-key.ts'
import { findPresented, noteUse, type PresentedApiKey, rehash } from '../store/api-keys.ts'
import type { SecretHash, Secrets } from './secrets.ts'

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
    const digest = Buffer.from(secretHash, 'base64url')
    const found = await matching(key, digest)
    if (!found) throw refused('the secret is not the API key’s')
    const { endsAt, kept } = found
    const state = apiKeyState(key, now)
    if (state !== 'ACTIVE') throw refused(`the API key is ${state}`)
    if (key.suspended) throw refused(`the API key’s ${key.suspended} is suspended`)
    if (endsAt <= now) throw refused('the API key was rotated, and the overlap is over')
    await use(key, now)
    if (kept.pepperId < key.newestPepperId) await renew(key.id, digest, kept)
    const { organizationId, makerRole, scopes, allowedCidrs } = key
    return {
      organizationId,
      roles: makerRole ? [makerRole.toLowerCase()] : [],
      scopes: [...scopes],
      allowedCidrs: allowedCidrs && [...allowedCidrs],
      expiresAt: endsAt.toISOString(),
    }
  }

  /** What was presented, and until when it is good; null when it is no secret of the key's. */
  async function matching(
    { id, current, previous, previousEndsAt, expiresAt }: PresentedApiKey,
    digest: Uint8Array,
  ): Promise<{ endsAt: Date; kept: SecretHash } | null> {
    if (await secrets.matches(id, digest, current)) return { endsAt: expiresAt, kept: current }
    if (!previous || !previousEndsAt || !(await secrets.matches(id, digest, previous))) return null
    const endsAt = new Date(Math.min(previousEndsAt.getTime(), expiresAt.getTime()))
    return { endsAt, kept: previous }
  }

  /** Only now is the secret here to be hashed with the newest pepper. Not worth a refusal either. */
  async function renew(id: Id<'key'>, digest: Uint8Array, kept: SecretHash): Promise<void> {
    try {
      await rehash(sql, id, kept, await secrets.hash(sql, id, digest))
    } catch (error) {
      log.warn({ err: error, id }, 'an API key was not hashed with the newest pepper')
    }
  }

  /** That it was used is not worth a refusal. */
  async function use({ id, lastUsedAt }: PresentedApiKey, now: Date): Promise<void> {
    if (lastUsedAt && now.getTime() - lastUsedAt.getTime() < USE_MS) return
    await noteUse(sql, id, now).catch((error: unknown) => {
      log.warn({ err: error, id }, 'the use of an API key was not noted')
    })
  }
}

function refused(reason: string): DomainError {
  return new DomainError('NOT_FOUND', reason)
}
