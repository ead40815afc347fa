import { type Actor, createActor, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Sql, SqlDatabase } from '@berth/platform/database'
import type { Encrypted, SecretEnvelope } from '@berth/platform/envelope'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, parseId } from '@berth/platform/ids'
import { refreshTokenPlace } from '../domain/sealed-places.ts'
import type { Session, SessionEnd } from '../model.ts'
import * as store from '../store/sessions.ts'

export type SignIn = Omit<store.NewSession, 'userId' | 'tokenHash' | 'refreshToken'> & {
  /** SHA-256 of the cookie's value, in hexadecimal. */
  readonly tokenHash: string
  readonly refreshToken: string | null
  /** Hash of the session that the browser had before: it ends with this one's beginning. */
  readonly replaces: string | null
}

/** Which sessions end: one, by its id or its cookie's hash, or those of a sign-in at the issuer. */
export type Ending =
  | { readonly sessionId: Id<'ses'> }
  | { readonly tokenHash: string }
  | {
      readonly issuer: string
      readonly subject: string | null
      readonly issuerSession: string | null
      readonly createdBefore: Date
    }

/** Browser sessions. That one ended is told to whoever relies on it by the revocation feed. */
export type Sessions = {
  /**
   * Once per session id: a repetition changes nothing.
   *
   * @throws {DomainError} NOT_FOUND when nobody is known by this identity, FORBIDDEN when they are
   *   suspended
   */
  create(signIn: SignIn): Promise<void>
  /** @throws {DomainError} NOT_FOUND when there is no live session of this hash */
  resolve(tokenHash: string): Promise<store.LiveSession>
  /** It was used. @throws {DomainError} NOT_FOUND when it is not live */
  touch(id: Id<'ses'>): Promise<void>
  /** @returns those that ended now */
  end(which: Ending, reason: SessionEnd): Promise<Id<'ses'>[]>
  /** The refresh token, for one at a time; null when it is not due or another has it. */
  beginRefresh(id: Id<'ses'>, lease: string): Promise<string | null>
  /** @param refreshToken null keeps the one there is */
  endRefresh(given: {
    id: Id<'ses'>
    lease: string
    refreshToken: string | null
    refreshSeconds: number
  }): Promise<boolean>
  /** Those of the person who asks that are live, used last first. */
  own(actor: Actor): Promise<Session[]>
  /** @throws {DomainError} NOT_FOUND unless it is a session of the person who asks that has not ended */
  revokeOwn(asked: Keyed, id: string): Promise<Id<'ses'>>
}

/** Of one person, at once: those used longest ago end beyond that. */
export const SESSIONS_PER_PERSON = 50
/** For one exchange at the issuer; then another may try. */
const REFRESH_LEASE_SECONDS = 60

export function createSessions({
  database,
  envelope,
}: {
  database: SqlDatabase
  envelope: SecretEnvelope
}): Sessions {
  return {
    create: (signIn) =>
      database.sqlTransaction(async (sql) => {
        const { id, tokenHash, refreshToken, replaces } = signIn
        const person = await store.personOf(sql, signIn)
        if (!person) {
          throw new DomainError(
            'NOT_FOUND',
            'Nobody here is known by this sign-in: ask to be invited',
          )
        }
        const { userId, isSuspended } = person
        if (isSuspended) {
          throw new DomainError('FORBIDDEN', 'This account is suspended: contact support')
        }
        const sealed = await sealedAt(id, refreshToken)
        const session = { ...signIn, userId, tokenHash: bytesOf(tokenHash), refreshToken: sealed }
        if (!(await store.addSession(sql, session))) return
        const actor = personOf(userId, id)
        await audit(sql, actor, 'session.create', id)
        if (replaces) await endAll(sql, { tokenHash: bytesOf(replaces) }, 'REPLACED', actor)
        for (const beyond of await store.sessionsBeyond(sql, userId, SESSIONS_PER_PERSON)) {
          await endAll(sql, { id: beyond }, 'LIMIT', actor)
        }
      }),

    async resolve(tokenHash) {
      const live = await store.liveSession(database.sql, bytesOf(tokenHash))
      if (!live) throw noSession()
      return live
    },

    async touch(id) {
      if (!(await store.touchSession(database.sql, id))) throw noSession()
    },

    end: (which, reason) =>
      database.sqlTransaction(async (sql) =>
        (await endAll(sql, rowsOf(which), reason)).map(({ id }) => id),
      ),

    async beginRefresh(id, lease) {
      const leaseSeconds = REFRESH_LEASE_SECONDS
      const sealed = await store.leaseRefresh(database.sql, { id, lease, leaseSeconds })
      return sealed && envelope.open(sealed, refreshTokenPlace(id))
    },

    async endRefresh({ refreshToken, ...given }) {
      const sealed = await sealedAt(given.id, refreshToken)
      return store.storeRefreshed(database.sql, { ...given, refreshToken: sealed })
    },

    async own(actor) {
      return store.sessionsOf(database.sql, requirePerson(actor))
    },

    async revokeOwn(asked, text) {
      const { actor } = asked
      const userId = requirePerson(actor)
      const id = parseId('ses', text)
      return database.sqlTransaction((sql) =>
        idempotent(sql, asked, 'sessionRevoke', { id }, async () => {
          const ended = await endAll(sql, { id, userId }, 'REVOKED', actor)
          if (ended.length === 0) throw noSession()
          return id
        }),
      )
    },
  }

  async function sealedAt(id: Id<'ses'>, token: string | null): Promise<Encrypted<string> | null> {
    return token === null ? null : envelope.seal(token, refreshTokenPlace(id))
  }
}

/** @param by whoever it is that ends them; the person themselves unless said */
async function endAll(
  sql: Sql,
  which: store.SessionsToEnd,
  reason: SessionEnd,
  by?: Actor,
): Promise<store.EndedSession[]> {
  const ended = await store.endSessions(sql, which, reason)
  for (const { id, userId } of ended) {
    await audit(sql, by ?? personOf(userId, id), 'session.end', id, { reason })
  }
  return ended
}

function audit(sql: Sql, actor: Actor, action: string, target: string, facts = {}) {
  return appendAudit(sql, { organizationId: null, actor, action, target, facts })
}

function personOf(subject: Id<'usr'>, credential: string): Actor {
  return createActor({ kind: 'person', subject, credential })
}

function rowsOf(which: Ending): store.SessionsToEnd {
  if ('sessionId' in which) return { id: which.sessionId }
  if ('tokenHash' in which) return { tokenHash: bytesOf(which.tokenHash) }
  return which
}

function bytesOf(hash: string): Buffer {
  return Buffer.from(hash, 'hex')
}

function noSession(): DomainError {
  return new DomainError('NOT_FOUND', 'There is no such session: it may have ended')
}
