import { type Actor, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import type { Sql, SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { MAX_DENIED_SIGNING_KEYS } from '@berth/schema/commands/policy'
import * as store from '../store/standing.ts'
import { lockActingOperator, requireReason } from './operators.ts'

export type { DeniedSigningKey } from '../store/standing.ts'

/** Which keys of the issuer the gateways trust, beyond what the issuer says. */
export type SigningKeys = {
  /** The latest first. */
  denied(actor: Actor): Promise<store.DeniedSigningKey[]>
  /** Answers `signingKeys.denied`. */
  deniedIds(): Promise<string[]>
  /**
   * No token that it signed is good any more. Again changes nothing.
   *
   * @throws {DomainError} BAD_INPUT for no key id, or without a reason; QUOTA_EXCEEDED for too many
   */
  deny(asked: Keyed, input: Input): Promise<store.DeniedSigningKey>
  /** Takes a denial back. Again changes nothing. @throws {DomainError} BAD_INPUT as `deny` */
  allow(asked: Keyed, input: Input): Promise<string>
  /** Answers `signingKeys.refresh`. @param by the gateway */
  refresh(input: { refreshId: string; reason: string | null }, by: Actor): Promise<void>
}

type Input = { readonly keyId: string; readonly reason: string }

export function createSigningKeys({
  database,
  clock,
}: {
  database: SqlDatabase
  clock: Clock
}): SigningKeys {
  return {
    denied(actor) {
      requirePerson(actor)
      return store.listDenied(database.sql)
    },

    async deniedIds() {
      return (await store.listDenied(database.sql)).map(({ keyId }) => keyId)
    },

    async deny(asked, input) {
      const keyId = checkKeyId(input.keyId)
      const reason = requireReason(input.reason)
      return database.sqlTransaction(async (sql) => {
        const deniedBy = await lockActingOperator(sql, asked.actor)
        await idempotent(sql, asked, 'signingKeyDeny', { keyId, reason }, async () => {
          if (await store.findDenied(sql, keyId)) return { keyId }
          if ((await store.listDenied(sql)).length >= MAX_DENIED_SIGNING_KEYS) {
            throw new DomainError(
              'QUOTA_EXCEEDED',
              `${MAX_DENIED_SIGNING_KEYS} keys are denied: allow those that the issuer has forgotten`,
            )
          }
          await store.insertDenied(sql, { keyId, reason, deniedBy, deniedAt: clock.now() })
          await audit(sql, { actor: asked.actor, action: 'signingKey.deny', target: keyId, reason })
          return { keyId }
        })
        const denied = await store.findDenied(sql, keyId)
        if (denied) return denied
        throw new DomainError('CONFLICT', 'This key has been allowed again since: deny it anew')
      })
    },

    async allow(asked, input) {
      const keyId = checkKeyId(input.keyId)
      const reason = requireReason(input.reason)
      return database.sqlTransaction(async (sql) => {
        await lockActingOperator(sql, asked.actor)
        await idempotent(sql, asked, 'signingKeyAllow', { keyId, reason }, async () => {
          if (await store.deleteDenied(sql, keyId)) {
            const action = 'signingKey.allow'
            await audit(sql, { actor: asked.actor, action, target: keyId, reason })
          }
          return { keyId }
        })
        return keyId
      })
    },

    async refresh({ refreshId, reason }, by) {
      await database.sqlTransaction(async (sql) => {
        await store.requestRefresh(sql, refreshId)
        const action = 'signingKeys.refresh'
        // Under the id of the refresh: told again, it is written once.
        await audit(sql, { id: refreshId, actor: by, action, target: refreshId, reason })
      })
    },
  }
}

function audit(
  sql: Sql,
  {
    reason,
    ...record
  }: { id?: string; actor: Actor; action: string; target: string } & {
    reason: string | null
  },
) {
  const why = reason === null ? {} : { reason }
  return appendAudit(sql, { organizationId: null, ...record, ...why })
}

/** As a key set or a token's header may name it. */
const KEY_ID = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/

function checkKeyId(text: string): string {
  if (KEY_ID.test(text)) return text
  throw new DomainError(
    'BAD_INPUT',
    '`keyId` is the `kid` of a key, or its SHA-256 thumbprint (RFC 7638): 1 to 255 ASCII characters',
  )
}
