import { covers } from '@berth/platform/action-pattern'
import { type Actor, requireOrganization, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, idToUuid, newId, parseId } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import type { PolicyClient } from '@berth/platform/policy-client'
import { actionNames } from '@berth/schema/actions'
import { type ApiKeyEnvironment, apiKeyPrefix, formatApiKey } from '@berth/schema/api-key'
import { apiKeyCreated, apiKeyRevoked, apiKeyRotated } from '@berth/schema/events/policy'
import type { PolicyDatabase } from '../database.ts'
import { apiKeyState, checkCidrs, checkExpiry, checkScopes } from '../domain/api-key.ts'
import { checkName, checkReason, checkWhole } from '../domain/input.ts'
import type { ApiKey } from '../model.ts'
import * as store from '../store/api-keys.ts'
import { lockActing } from './acting.ts'
import { readQuota } from './quotas.ts'
import { digestOf, newSecret, type Secrets } from './secrets.ts'

/** What is told of a key once: the second part is null under a repeated idempotency key. */
export type ShownApiKey = { apiKey: ApiKey; secret: string | null }

/** The credentials of an organization's programs. */
export type ApiKeys = {
  /** Newest first, those that have ended included. */
  list(
    actor: Actor,
    page: { first?: number | null | undefined; after?: string | null | undefined },
  ): Promise<Connection<ApiKey>>
  /** How a key begins, up to its secret. */
  prefixOf(id: Id<'key'>): string
  /** @throws {DomainError} FORBIDDEN for a scope that the person lacks, QUOTA_EXCEEDED, BAD_INPUT */
  create(
    asked: Keyed,
    input: {
      name: string
      scopes: readonly string[]
      allowedCidrs?: readonly string[] | null | undefined
      expiresAt?: Date | null | undefined
    },
  ): Promise<ShownApiKey>
  /**
   * Gives a key another secret; the one before is good for the overlap.
   *
   * @throws {DomainError} NOT_FOUND when the organization has none of that id, FORBIDDEN for a key of
   *   somebody else, whose authority would be had by its secret; CONFLICT when it is not good any more
   */
  rotate(
    asked: Keyed,
    input: {
      id: string
      overlapSeconds?: number | null | undefined
      expiresAt?: Date | null | undefined
    },
  ): Promise<ShownApiKey>
  /** @throws {DomainError} NOT_FOUND when the organization has none of that id */
  revoke(asked: Keyed, input: { id: string; reason?: string | null | undefined }): Promise<ApiKey>
}

const DEFAULT_OVERLAP_SECONDS = 24 * 60 * 60
const MAX_OVERLAP_SECONDS = 7 * 24 * 60 * 60

export function createApiKeys({
  database,
  policy,
  secrets,
  environment,
  clock,
}: {
  database: PolicyDatabase
  policy: Pick<PolicyClient, 'can'>
  secrets: Secrets
  environment: ApiKeyEnvironment
  clock: Clock
}): ApiKeys {
  return {
    async list(actor, input) {
      const organizationId = requireOrganization(actor)
      const page = pageArguments(input)
      const after = page.after === null ? null : parseId('key', page.after)
      const rows = await store.listApiKeys(database.sql, organizationId, { take: page.take, after })
      return connection({ ...page, rows, cursorOf: ({ id }) => id })
    },

    prefixOf: (id) => apiKeyPrefix({ environment, id }),

    async create(asked, input) {
      const { actor } = asked
      const organizationId = requireOrganization(actor)
      requirePerson(actor)
      const name = checkName(input.name)
      const scopes = checkScopes(input.scopes)
      const allowedCidrs = checkCidrs(input.allowedCidrs)
      const now = clock.now()
      const expiresAt = checkExpiry(input.expiresAt, now)
      await requireScopes(actor, scopes)
      const request = { name, scopes, allowedCidrs, expiresAt: input.expiresAt ?? null }
      return database.sqlTransaction(async (sql) => {
        let shown: string | null = null
        const { id } = await idempotent(sql, asked, 'apiKeyCreate', request, async () => {
          const { userId } = await lockActing(sql, actor)
          const live = await store.countLive(sql, organizationId, now)
          const most = await readQuota(sql, 'quota.api-keys', organizationId)
          if (live >= most) {
            throw new DomainError(
              'QUOTA_EXCEEDED',
              `${live} keys are good, of ${most} that may be: revoke one first`,
            )
          }
          const key = {
            id: newId('key'),
            organizationId,
            name,
            scopes,
            allowedCidrs,
            createdBy: userId,
            createdAt: now,
            expiresAt,
          }
          const secret = newSecret()
          shown = formatApiKey({ environment, id: key.id, secret })
          await store.insertApiKey(sql, key, await secrets.hash(sql, key.id, digestOf(secret)))
          await appendEvent(sql, apiKeyCreated, {
            ...aggregateOf(key, 1n),
            data: { createdBy: userId, expiresAt: expiresAt.toISOString() },
          })
          await appendAudit(sql, {
            organizationId: idToUuid(organizationId),
            actor,
            action: 'apiKey.create',
            target: key.id,
            after: {
              scopes: scopes.join(' '),
              networks: allowedCidrs?.length ?? null,
              expiresAt: expiresAt.toISOString(),
            },
          })
          return { id: key.id }
        })
        return { apiKey: await found(sql, organizationId, id), secret: shown }
      })
    },

    async rotate(asked, input) {
      const { actor } = asked
      const organizationId = requireOrganization(actor)
      const id = parseId('key', input.id)
      const overlapSeconds = checkWhole(
        'overlapSeconds',
        input.overlapSeconds ?? DEFAULT_OVERLAP_SECONDS,
        0,
        MAX_OVERLAP_SECONDS,
      )
      const now = clock.now()
      if (input.expiresAt != null) checkExpiry(input.expiresAt, now)
      const request = { id, overlapSeconds, expiresAt: input.expiresAt ?? null }
      return database.sqlTransaction(async (sql) => {
        let shown: string | null = null
        await idempotent(sql, asked, 'apiKeyRotate', request, async () => {
          const { userId } = await lockActing(sql, actor)
          const key = await found(sql, organizationId, id, { isLocked: true })
          if (key.createdBy !== userId) {
            throw new DomainError(
              'FORBIDDEN',
              'Only who made a key may rotate it: revoke it, and make one of your own',
            )
          }
          const state = apiKeyState(key, now)
          if (state !== 'ACTIVE') {
            throw new DomainError('CONFLICT', `This key is ${state}: make a new one`)
          }
          const expiresAt = input.expiresAt ?? key.expiresAt
          const previousEndsAt =
            overlapSeconds === 0 ? null : new Date(now.getTime() + overlapSeconds * 1_000)
          const secret = newSecret()
          shown = formatApiKey({ environment, id, secret })
          const next = await secrets.hash(sql, id, digestOf(secret))
          const number = await store.replaceSecret(sql, { ...key, previousEndsAt, expiresAt }, next)
          const overlapEndsAt = (previousEndsAt ?? now).toISOString()
          await appendEvent(sql, apiKeyRotated, {
            ...aggregateOf(key, number),
            data: { overlapEndsAt, expiresAt: expiresAt.toISOString() },
          })
          await appendAudit(sql, {
            organizationId: idToUuid(organizationId),
            actor,
            action: 'apiKey.rotate',
            target: id,
            facts: { overlapEndsAt },
            before: { expiresAt: key.expiresAt.toISOString() },
            after: { expiresAt: expiresAt.toISOString() },
          })
          return { id }
        })
        return { apiKey: await found(sql, organizationId, id), secret: shown }
      })
    },

    async revoke(asked, input) {
      const { actor } = asked
      const organizationId = requireOrganization(actor)
      const id = parseId('key', input.id)
      const reason = checkReason(input.reason)
      return database.sqlTransaction(async (sql) => {
        await idempotent(sql, asked, 'apiKeyRevoke', { id, reason }, async () => {
          await lockActing(sql, actor)
          const now = clock.now()
          const key = await found(sql, organizationId, id, { isLocked: true })
          if (key.revokedAt) return { id }
          const number = await store.setRevoked(sql, id, now)
          await appendEvent(sql, apiKeyRevoked, { ...aggregateOf(key, number), data: {} })
          await appendAudit(sql, {
            organizationId: idToUuid(organizationId),
            actor,
            action: 'apiKey.revoke',
            target: id,
            ...(reason === null ? {} : { reason }),
            before: { state: apiKeyState(key, now) },
            after: { state: 'REVOKED' },
          })
          return { id }
        })
        return found(sql, organizationId, id)
      })
    },
  }

  /** Nobody gives a key what they do not have: and no more than they have will it ever do. */
  async function requireScopes(actor: Actor, scopes: readonly string[]): Promise<void> {
    for (const scope of scopes) {
      const covered = actionNames.filter((it) => covers(scope, it))
      let isGranted = covered.length > 0
      for (const action of covered) isGranted &&= await policy.can(actor, action)
      if (isGranted) continue
      throw new DomainError('FORBIDDEN', `You do not have the permission ${scope} yourself`)
    }
  }
}

async function found(
  sql: Sql,
  organizationId: Id<'org'>,
  id: Id<'key'>,
  how?: { isLocked: boolean },
): Promise<store.KeptApiKey> {
  const key = await store.findApiKey(sql, organizationId, id, how)
  if (key) return key
  throw new DomainError('NOT_FOUND', `Your organization has no API key ${id}`)
}

function aggregateOf(
  { id, organizationId }: Pick<ApiKey, 'id' | 'organizationId'>,
  aggregateSeq: bigint,
) {
  return { aggregateId: idToUuid(id), aggregateSeq, organizationId: idToUuid(organizationId) }
}
